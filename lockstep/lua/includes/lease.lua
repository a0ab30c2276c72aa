-- A lease: its token, then who holds it since when. "Leased" is "this entry is there": nothing else says so.
-- A token is epoch:fence:nonce in fixed widths, and is compared whole.

local TOKEN_LENGTH = 8 + 1 + 16 + 1 + 16

-- What follows the token in a lease that `owner` takes now.
local function held_by(owner)
    return cmsgpack.pack({owner, NOW})
end

local function read_lease(packed)
    local held = cmsgpack.unpack(string.sub(packed, TOKEN_LENGTH + 1))
    return {token = string.sub(packed, 1, TOKEN_LENGTH), owner = held[1], claimed = held[2]}
end

local function holds(packed, token)
    return packed and string.sub(packed, 1, TOKEN_LENGTH) == token
end

-- End the lease of a group. These writes free memory, so a script that begins with them works on a full Redis.
local function end_lease(ref)
    redis.call('HDEL', key('leases'), ref)
    redis.call('ZREM', key('expiries'), ref)
end
