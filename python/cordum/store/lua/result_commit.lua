-- result_commit  slot={jNN}  KEYS: 1 anchor  ARGV: 1 now_us, 2 packed options, 3.. packed transition
-- returns per job {"moved", state, rev, attempts, topic, tenant, prev_state, created_at, worker_id, pool, saga} | {"conflict"|"ignored", why, state, rev}  idempotent: a final or absent record is ignored
-- include job_common
return run('result')
