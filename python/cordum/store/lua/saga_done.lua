-- saga_done  slot={scope}  KEYS: 1 inflight  ARGV: 1 template
-- returns 1 when it was in flight, else 0
return redis.call('LREM', KEYS[1], 1, ARGV[1])
