-- Purpose: read every process that was heard of lately. Writes nothing.
-- KEYS:    1 processes (hash), 2 processes:seen (zset)
-- ARGV:    1 for how long a process is remembered after it was heard of (ms), 2 how many to read at most
-- Answers: for each, the one heard of longest ago first: name, ms since then, record (opaque)
-- States:  none changes

-- @include clock

local since = NOW - tonumber(ARGV[1])
local seen = redis.call('ZRANGEBYSCORE', KEYS[2], since, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local answer = {}
for i = 1, #seen, 2 do
    local record = redis.call('HGET', KEYS[1], seen[i])
    if record then
        answer[#answer + 1] = seen[i]
        answer[#answer + 1] = NOW - tonumber(seen[i + 1])
        answer[#answer + 1] = record
    end
end
return answer
