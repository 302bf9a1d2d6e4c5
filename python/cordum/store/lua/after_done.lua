-- after_done  slot={jNN}  KEYS: 1 anchor  ARGV: 1.. triples of job id, rev (empty: any), duties done joined by commas
-- returns number of jobs with nothing left to do  idempotent: duties stay when the record moved on since rev
-- include after_common
local finished = {}
for i = 1, #ARGV, 3 do
  local meta = META .. ARGV[i]
  local values = redis.call('HMGET', meta, 'rev', 'state', 'after')
  local current = ARGV[i + 1] == '' or not values[1] or values[1] == ARGV[i + 1]
  if current then
    local done, left = {}, {}
    for word in string.gmatch(ARGV[i + 2], '[^,]+') do done[word] = true end
    for word in string.gmatch(values[3] or '', '[^,]+') do
      if not done[word] then left[#left + 1] = word end
    end
    if #left == 0 then
      forget_duties(meta, values[2])
      finished[#finished + 1] = ARGV[i]
    else
      redis.call('HSET', meta, 'after', table.concat(left, ','))
    end
  end
end
if #finished == 0 then return 0 end
return redis.call('ZREM', AFTER, unpack(finished))
