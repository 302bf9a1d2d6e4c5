-- saga_pop  slot={scope}  KEYS: 1 stack, 2 inflight, 3 rolled, 4 tenant, 5 lock  ARGV: 1 tenant, 2 lock token, 3 ttl_s
-- returns {"entry", template} | {"empty"} | {"foreign"} | {"lost"}  idempotent: what is in flight is given again until saga_done
if redis.call('GET', KEYS[5]) ~= ARGV[2] then return {'lost'} end
local owner = redis.call('GET', KEYS[4])
if owner and owner ~= ARGV[1] then return {'foreign'} end
redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[3], '1', 'EX', ARGV[3])
local entry = redis.call('LINDEX', KEYS[2], -1)
if not entry then
  entry = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'LEFT')
  if not entry then return {'empty'} end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {'entry', entry}
