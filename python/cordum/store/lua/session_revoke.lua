-- session_revoke  slot=own key  KEYS: 1 session of a worker  ARGV: 1 now_s, 2 tenant or empty for any
-- returns {"revoked", jti, tenant, expires_s, previous jti or empty} | {"absent"}  idempotent
local found = redis.call('HMGET', KEYS[1], 'jti', 'tenant', 'exp_unix', 'prev_jti')
if not found[1] or tonumber(found[3] or '0') <= tonumber(ARGV[1]) then return {'absent'} end
if ARGV[2] ~= '' and found[2] ~= ARGV[2] then return {'absent'} end
redis.call('HSET', KEYS[1], 'revoked', found[1])
return {'revoked', found[1], found[2], found[3], found[4] or ''}
