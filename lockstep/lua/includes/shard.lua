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

-- A full Redis refuses a script whose first write takes memory. Scripts that must work then, because in the end
-- they free some, begin with this write, which takes none.
local function write_though_full()
    redis.call('DEL', key('none'))
end
