-- Ends a job that no message in hand ends: it was cancelled, or its message is a dead letter.
-- include: _vault, _end
--
-- KEYS      outcome, job, vault sizes, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      audio, Outcome, milliseconds to keep it, job id, channel to announce it on
-- reads     job, vault sizes, users
-- writes    outcome, job, audio, vault leaving, vault ended, users, label sets, vocabularies; announces the end
-- returns   1, or 0 if the job had already ended or has no record
return end_job(KEYS, ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5])
