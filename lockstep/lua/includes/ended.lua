-- What ends with a lease, beside it.

-- Answers whether a lane of this shard may be looked at again, for which whoever waits must be woken.
local function end_extras(packed)
    local extras = extras_of(packed)
    local opened = false
    if extras and extras.cancel then
        redis.call('SREM', key('cancelling'), string.sub(packed, 1, TOKEN_LENGTH))
    end
    if extras and extras.slots then
        leave_slots(extras.slots)
        for _, instance in ipairs(extras.slots) do
            opened = open_lane(instance) or opened
        end
    end
    return opened
end
