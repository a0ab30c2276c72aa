-- The shard that a script works on: its key prefix and its time.
-- KEYS[1] is always the shard's meta key; every other key shares its hash tag.

local PREFIX = string.sub(KEYS[1], 1, -5)

-- The server's clock, as microseconds and as milliseconds: no script uses a client's clock.
local TIME = redis.call('TIME')
local NOW_US = tonumber(TIME[1]) * 1000000 + tonumber(TIME[2])
local NOW = math.floor(NOW_US / 1000)

local function key(name)
    return PREFIX .. name
end
