-- Ends a job that no message in hand ends: it was cancelled, or its message is a dead letter.
-- include: _vault, _group, _end
--
-- KEYS      outcome, job, vault sizes, vault leaving, vault ended; then each shared label set or vocabulary and its users
-- ARGV      audio, Outcome, its state, milliseconds to keep it, job id, channel to announce it on
-- reads     job, vault sizes, users
-- writes    outcome, job, audio, vault leaving, vault ended, users, label sets, vocabularies, group, its ends, deadlines,
--           outbox, totals; announces the end
-- returns   1, or 0 if the job had already ended or has no record
local audio, text, state, keep_ms, id, channel = unpack(ARGV)
return end_job(KEYS, audio, text, state, tonumber(keep_ms), id, channel)
