-- Where a group stands when its head changes without a lease's end: an operator took it away or put one before it.

local function is_leased(ref)
    return redis.call('HEXISTS', key('leases'), ref) == 1
end

-- Take a group that is not leased out of wherever it waits.
local function unseat(ref)
    remove_ready(ref)
    redis.call('ZREM', key('blocked'), ref)
    redis.call('SREM', key('halted'), ref)
    unpark(ref)
end

-- Put a group whose head changed where its new head belongs. One that is leased stays: its settle goes on.
local function reseat(ref)
    if is_leased(ref) then
        return
    end
    if not is_listed(ref) or redis.call('EXISTS', list_key(ref)) == 0 then
        unseat(ref)
    elseif redis.call('SISMEMBER', key('halted'), ref) == 0 then
        unseat(ref)
        make_ready('RPUSH', {ref})
    end
end
