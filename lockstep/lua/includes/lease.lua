-- A lease: its token, then who holds it since when, whether a suspect said that it started, and what else ends
-- with it, by name. "Leased" is "this entry is there": nothing else says so.
-- A token is epoch:fence:nonce in fixed widths, and is compared whole.

local TOKEN_LENGTH = 8 + 1 + 16 + 1 + 16

-- The first byte of what follows the token in a lease with two elements: it has no extras.
local PLAIN = 0x92

-- What follows the token in a lease that `owner` takes now; extras are rare.
local function held_by(owner, extras)
    if extras then
        return cmsgpack.pack({owner, NOW, 0, extras})
    end
    return cmsgpack.pack({owner, NOW})
end

local function read_lease(packed)
    local held = cmsgpack.unpack(string.sub(packed, TOKEN_LENGTH + 1))
    return {token = string.sub(packed, 1, TOKEN_LENGTH), owner = held[1], claimed = held[2], started = held[3] == 1,
        extras = held[4]}
end

local function write_lease(ref, lease)
    redis.call('HSET', key('leases'), ref,
        lease.token .. cmsgpack.pack({lease.owner, lease.claimed, lease.started and 1 or 0, lease.extras}))
end

-- What else ends with a lease; nil for most, without reading it.
local function extras_of(packed)
    if string.byte(packed, TOKEN_LENGTH + 1) == PLAIN then
        return nil
    end
    return read_lease(packed).extras
end

local function holds(packed, token)
    return packed and string.sub(packed, 1, TOKEN_LENGTH) == token
end

-- End the lease of a group. These writes free memory, so a script that begins with them works on a full Redis.
local function end_lease(ref)
    redis.call('HDEL', key('leases'), ref)
    redis.call('ZREM', key('expiries'), ref)
end
