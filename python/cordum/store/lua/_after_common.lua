-- Shared by the scripts that end post-commit duties.
local tag = string.match(KEYS[1], '{[^}]*}')
local META, AFTER = 'job:meta:' .. tag .. ':', 'job:after:' .. tag
-- include final_states

-- Of a job that is over and told, nobody asks whose dispatch it was.
local function forget_duties(meta, state)
  if FINAL[state] then redis.call('HDEL', meta, 'after', 'dispatched_by')
  else redis.call('HDEL', meta, 'after') end
end
