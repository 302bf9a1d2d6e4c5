-- saga_push  slot={scope}  KEYS: 1 stack, 2 seen, 3 rolled, 4 tenant  ARGV: 1 tenant, 2 ttl_s, 3 most entries, 4.. pairs of job id, template
-- returns {rolled, outcome per pair: pushed | seen | full | foreign}  idempotent: a job is pushed once; a scope belongs to the tenant that used it first
local owner = redis.call('GET', KEYS[4])
local answer = {redis.call('EXISTS', KEYS[3])}
local foreign = owner and owner ~= ARGV[1]
local left = tonumber(ARGV[3]) - redis.call('LLEN', KEYS[1])
for i = 4, #ARGV, 2 do
  local outcome = 'pushed'
  if foreign then outcome = 'foreign'
  elseif redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 1 then outcome = 'seen'
  elseif left <= 0 then outcome = 'full'
  else
    redis.call('SADD', KEYS[2], ARGV[i])
    redis.call('LPUSH', KEYS[1], ARGV[i + 1])
    left = left - 1
  end
  answer[#answer + 1] = outcome
end
if not foreign then
  redis.call('SET', KEYS[4], ARGV[1])
  for i = 1, 4 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
end
return answer
