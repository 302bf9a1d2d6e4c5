-- lock_renew  slot=own key  KEYS: 1 lock  ARGV: 1 token, 2 ttl_ms
-- returns 1 when renewed, 0 when lost
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
