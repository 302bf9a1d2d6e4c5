-- idem_claim  slot={tenant}  KEYS: 1 job:idempotency  ARGV: 1 new job id, 2 ttl_s
-- returns the id the key now names: the new one, or the one that was there
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return ARGV[1] end
return redis.call('GET', KEYS[1])
