# One recipe for every container: EXTRAS=worker holds the models; EXTRAS=serve and EXTRAS=monitor have no torch.
FROM python:3.11-slim

ARG EXTRAS=worker
ENV PYTHONUNBUFFERED=1 GOLEM_STORE=/models

# The program and its models belong to a user without rights; a new volume at /models inherits that owner.
RUN useradd --uid 10001 --create-home golem && install --directory --owner golem --group golem --mode 700 /models

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY golem_chain/ golem_chain/
COPY shared/ shared/
COPY broker/ broker/
COPY workers/ workers/
COPY benchmarks/ benchmarks/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[${EXTRAS}]"

WORKDIR /home/golem
USER golem
VOLUME /models
ENTRYPOINT ["golem"]
CMD ["worker"]
