-- Ends a job that no message in hand ends: it was cancelled, or its message is a dead letter.
-- include: _end
--
-- KEYS      outcome, job, audio, vault sizes, vault leaving, vault ended; then each shared label set or vocabulary and
--           its users
-- ARGV      Outcome, milliseconds to keep it, job id, channel to announce it on
-- reads     job, vault sizes, users
-- writes    outcome, job, audio, vault leaving, vault ended, users, label sets, vocabularies; publishes the id
-- returns   1, or 0 if the job had already ended or has no record
return end_job(KEYS, ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4])
