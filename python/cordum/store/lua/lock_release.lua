-- lock_release  slot=own key  KEYS: 1 lock  ARGV: 1 token
-- returns 1 when released, 0 when somebody else holds it
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
