-- document_put  slot=own key  KEYS: 1 document  ARGV: 1 expected revision (0: absent), 2 document JSON
-- returns {"written", revision} | {"conflict", revision}  idempotent: fenced by revision
local current = redis.call('GET', KEYS[1])
local revision = 0
if current then
  local ok, document = pcall(cjson.decode, current)
  revision = ok and type(document) == 'table' and tonumber(document.revision) or -1
end
if revision ~= tonumber(ARGV[1]) then return {'conflict', revision} end
redis.call('SET', KEYS[1], ARGV[2])
return {'written', revision + 1}
