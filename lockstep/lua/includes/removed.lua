-- Messages that an operator removed: their records are gone, but a caller that waits for a result is told. The newest
-- of them are remembered for a while, as reason:id, with the ms when it was.

local REMOVED_MOST, REMOVED_MS = 10000, 600000
local REASONS = {'purged', 'discarded'}

-- `ids` are messages that this call removes, at most 1,000.
local function note_removed(ids, reason)
    local members = {}
    for _, id in ipairs(ids) do
        members[#members + 1] = NOW
        members[#members + 1] = reason .. ':' .. id
    end
    redis.call('ZADD', key('removed'), unpack(members))
    redis.call('ZREMRANGEBYRANK', key('removed'), 0, -REMOVED_MOST - 1)
    redis.call('PEXPIRE', key('removed'), REMOVED_MS)
end

-- Why a message was removed; nil when it was not, or long ago.
local function reason_of_removal(id)
    for _, reason in ipairs(REASONS) do
        if redis.call('ZSCORE', key('removed'), reason .. ':' .. id) then
            return reason
        end
    end
    return nil
end
