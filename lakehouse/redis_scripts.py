"""What the online store has Redis do at once: scripts in Lua, which Redis runs alone.

A script that fails has written nothing: Redis refuses the first write where it is full, a replica,
or cannot save. Keys are named as ``lakehouse.online_redis`` says.
"""

# Lua's < compares text as the server's locale does, and not as bytes, so moments are unpacked.
PUT_VECTOR = """
local function put_vector(key, vector, ends)
  if vector == '' then return end
  local stored = redis.call('GETRANGE', key, 0, 7)
  if stored ~= '' and struct.unpack('>I8', stored) >= struct.unpack('>I8', vector) then return end
  if ends == '0' then redis.call('SET', key, vector)
  else redis.call('SET', key, vector, 'PXAT', ends) end
end
"""
# KEYS: the answer. ARGV: seconds to keep it, space, number of updates; of each update the user,
# subject, version, state, vector, expiry; then partitions and offsets in turn.
UPDATE = (
    PUT_VECTOR
    + """
local answer = redis.call('GET', KEYS[1])
if answer then return answer end
local prefix, last, refused, done = 'tp:' .. ARGV[2], 3 + 6 * tonumber(ARGV[3]), false, {}
redis.call('HINCRBY', 'tp:spaces', ARGV[2], 1)
for at = 4, last, 6 do
  local user, subject, version, state, vector, ends = unpack(ARGV, at, at + 5)
  if redis.call('HEXISTS', 'tp:erased', subject) == 1 then
    done[#done + 1] = '1'
  elseif redis.call('GETRANGE', prefix .. ':s:' .. user, 0, 7) ~= version then
    done[#done + 1], refused = '0', true
  else
    redis.call('SET', prefix .. ':s:' .. user, state)
    put_vector(prefix .. ':v:' .. user, vector, ends)
    done[#done + 1] = '1'
  end
end
for at = last + 1, refused and 0 or #ARGV, 2 do
  local stored = redis.call('HGET', prefix .. ':p', ARGV[at])
  if not stored or tonumber(stored) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', prefix .. ':p', ARGV[at], ARGV[at + 1])
  end
end
answer = table.concat(done)
redis.call('SET', KEYS[1], answer, 'EX', ARGV[1])
return answer
"""
)
# ARGV: space; of each row the user, subject, state, vector, expiry.
LOAD = (
    PUT_VECTOR
    + """
local prefix = 'tp:' .. ARGV[1]
redis.call('HINCRBY', 'tp:spaces', ARGV[1], 1)
for at = 2, #ARGV, 5 do
  local user, subject, state, vector, ends = unpack(ARGV, at, at + 4)
  if redis.call('HEXISTS', 'tp:erased', subject) == 0 then
    if state ~= '' then redis.call('SETNX', prefix .. ':s:' .. user, state) end
    put_vector(prefix .. ':v:' .. user, vector, ends)
  end
end
"""
)
# KEYS: the answer. ARGV: seconds to keep it, name, value, and the expected value if there is one.
SET_NOTE = """
local answer = redis.call('GET', KEYS[1])
if answer then return answer end
answer = '0'
if redis.call('HGET', 'tp:notes', ARGV[2]) == (ARGV[4] or false) then
  redis.call('HSET', 'tp:notes', ARGV[2], ARGV[3])
  answer = '1'
end
redis.call('SET', KEYS[1], answer, 'EX', ARGV[1])
return answer
"""
# ARGV: user, subject, moment.
ERASE = """
redis.call('HSET', 'tp:erased', ARGV[2], ARGV[3])
local removed = 0
for _, space in ipairs(redis.call('HKEYS', 'tp:spaces')) do
  local prefix = 'tp:' .. space
  removed = removed + redis.call('DEL', prefix .. ':v:' .. ARGV[1], prefix .. ':s:' .. ARGV[1])
end
return removed
"""
# ARGV: space, and how many writes it had when it was found empty.
FORGET = """
if redis.call('HGET', 'tp:spaces', ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', 'tp:spaces', ARGV[1])
"""
