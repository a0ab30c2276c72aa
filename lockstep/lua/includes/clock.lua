-- The server's clock in milliseconds, for scripts on keys that belong to no shard.
local TIME = redis.call('TIME')
local NOW = tonumber(TIME[1]) * 1000 + math.floor(tonumber(TIME[2]) / 1000)
