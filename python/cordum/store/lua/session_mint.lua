-- session_mint  slot=own key  KEYS: 1 session of a worker  ARGV: 1 now_s, 2 jti, 3 expires_s, 4 tenant, 5 agent, 6 proof key id, 7 jti to renew or empty, 8 grace_s
-- returns {"minted"} | {"superseded"} | {"revoked"}  not idempotent: a jti is used once
local old = redis.call('HMGET', KEYS[1], 'jti', 'exp_unix', 'revoked', 'issued_unix')
local now = tonumber(ARGV[1])
local live = old[1] and tonumber(old[2] or '0') > now and old[3] ~= old[1]
if ARGV[7] ~= '' then
  if old[1] and old[1] == ARGV[7] and old[3] == old[1] then return {'revoked'} end
  if not live or old[1] ~= ARGV[7] then return {'superseded'} end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'jti', ARGV[2], 'exp_unix', ARGV[3], 'issued_unix', ARGV[1], 'tenant', ARGV[4], 'agent_id', ARGV[5],
  'proof_key_id', ARGV[6])
if live then
  redis.call('HSET', KEYS[1], 'prev_jti', old[1], 'prev_until', now + tonumber(ARGV[8]), 'prev_issued', old[4] or '0')
end
redis.call('EXPIRE', KEYS[1], math.max(1, tonumber(ARGV[3]) - now))
return {'minted'}
