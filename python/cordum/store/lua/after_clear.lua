-- after_clear  slot={jNN}  KEYS: 1 anchor  ARGV: 1.. pairs of job id, rev (empty: any)
-- returns number of jobs cleared  idempotent: post-commit duties stay when the record moved on since rev
local tag = string.match(KEYS[1], '{[^}]*}')
local done = {}
for i = 1, #ARGV, 2 do
  local meta, rev = 'job:meta:' .. tag .. ':' .. ARGV[i], ARGV[i + 1]
  if rev ~= '' then
    local current = redis.call('HGET', meta, 'rev')
    if current and current ~= rev then meta = nil end
  end
  if meta then
    redis.call('HDEL', meta, 'after')
    done[#done + 1] = ARGV[i]
  end
end
if #done == 0 then return 0 end
return redis.call('ZREM', 'job:after:' .. tag, unpack(done))
