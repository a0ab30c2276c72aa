-- Make the head of a group a dead letter. The caller has ended its lease.

-- Where its death blocks the group, it stays in the list and the group waits for an operator: so no enqueue
-- makes the group ready. Answers whether messages remain that may run.
local function bury_head(ref, id, row, reason)
    local remains = false
    if row[ROW.BLOCKS] == 1 and is_listed(ref) then
        redis.call('ZADD', key('blocked'), '+inf', ref)
    else
        remains = pop_head(ref)
    end
    row[ROW.DIED] = NOW
    row[ROW.REASON] = reason
    write_row(id, row)
    redis.call('ZADD', key('dead'), NOW, id)
    return remains
end
