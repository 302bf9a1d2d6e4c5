-- velocity_count  slot=own key  KEYS: 1 bucket  ARGV: 1 window_s, 2 max_requests, 3 member, 4 record (1) or read (0)
-- returns members in the window, the asking one included; a member counts once, however often it asks
-- The clock is Redis's: replicas must agree on the window (policy spec 13.1). A member keeps its first time, else jobs
-- that wait and ask again would keep a full window full for ever. Above 4 x max_requests nothing is added any more.
local time = redis.call('TIME')
local now = tonumber(time[1]) + math.floor(tonumber(time[2]) / 1000) / 1000
local window = tonumber(ARGV[1])
local cutoff = string.format('%.3f', now - window)
if ARGV[4] == '1' then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', cutoff) end
local count = redis.call('ZCOUNT', KEYS[1], '(' .. cutoff, '+inf')
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
if score and tonumber(score) > tonumber(cutoff) then return count end
if ARGV[4] == '1' and count <= 4 * tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[3])
  redis.call('EXPIRE', KEYS[1], window + 60)
end
return count + 1
