-- What belongs to no shard; all of it under the prefix "NAMESPACE:{hub}:".
--   `dead:KIND`      stream of dead letters; `dead-bytes` hash: kind -> how long they are together
--   `audit`          stream of changes by somebody's word
--   `replicas`       sorted set by the time of the last heartbeat; `heartbeats` hash: replica -> what it said
--   `freezes`        how many freezes there were
--   `sitters`        sorted set of those who share seats, by the end of their leases; `asks` hash: sitter -> which it shares
--   `seats`          hash: seat -> whose it is, "" for nobody's; `seated` sorted set by the end of the leases of seats:
--                    these four are those of MQTT, and behind `BUS:` there are those of every other bus
--   `BUS:positions`  hash: seat -> how far it was reached
--   `declarations`   hash: generation and documents in force; `generations` list of all that were, newest first

-- Takes one entry of a stream of dead letters out; how long the rest is together.
local function unbury(prefix, kind, entry)
  redis.call('XDEL', prefix .. 'dead:' .. kind, entry[1])
  return redis.call('HINCRBY', prefix .. 'dead-bytes', kind, -#entry[2][2])
end

register('bury', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local most, most_bytes = ask[1], ask[2]
  for _, letter in ipairs(ask[3]) do
    local kind, json = letter[1], letter[2]
    local key = prefix .. 'dead:' .. kind
    redis.call('XADD', key, '*', 'letter', json)
    local count = redis.call('XLEN', key)
    local size = redis.call('HINCRBY', prefix .. 'dead-bytes', kind, #json)
    while count > most or (size > most_bytes and count > 1) do
      size = unbury(prefix, kind, redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1])
      count = count - 1
    end
  end
  return ''
end)

-- A command that reads a stream, of those of a kind, from one id to another, at most so many.
register('letters', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return redis.call(ask[1], prefix .. 'dead:' .. ask[2], ask[3], ask[4], 'COUNT', ask[5])
end, {'no-writes'})

-- Takes letters out, each {kind, id in its stream}: for each whether it was there.
register('drop_letters', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local found = {}
  for i, letter in ipairs(ask) do
    local entry = redis.call('XRANGE', prefix .. 'dead:' .. letter[1], letter[2], letter[2])[1]
    found[i] = entry ~= nil
    if entry then
      unbury(prefix, letter[1], entry)
    end
  end
  return cmsgpack.pack(found)
end, {'allow-oom'})

register('audit', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  redis.call('XADD', prefix .. 'audit', 'MAXLEN', ask[1], '*', 'entry', ask[2], 'time', exact(ask[3][1] or now))
  return ''
end)

-- Changes with these ids, newest first: {id, {name, value, …}} each.
register('audits', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return redis.call('XREVRANGE', prefix .. 'audit', ask[1], '-', 'COUNT', ask[2])
end, {'no-writes'})

register('next_freeze', function(keys)
  return redis.call('INCR', keys[1] .. 'freezes')
end)

-- What all living replicas said last, by name.
local function heartbeats(prefix, now, silence)
  local names = redis.call('ZRANGEBYSCORE', prefix .. 'replicas', '(' .. exact(now - silence), '+inf')
  local beats = {}
  table.sort(names)
  for i, living in ipairs(names) do
    beats[i] = redis.call('HGET', prefix .. 'heartbeats', living)
  end
  return beats
end

register('replicas', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  return cmsgpack.pack(heartbeats(prefix, now, ask[1]))
end, {'no-writes'})

-- Says that a replica lives; the heartbeats of all that do, the generation in force, and the form to write in.
register('beat', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local name, json, silence = ask[1], ask[2], ask[3]
  redis.call('ZADD', prefix .. 'replicas', exact(now), name)
  redis.call('HSET', prefix .. 'heartbeats', name, json)
  local silent = redis.call('ZRANGEBYSCORE', prefix .. 'replicas', '-inf', exact(now - silence))
  in_pieces('ZREM', prefix .. 'replicas', silent)
  in_pieces('HDEL', prefix .. 'heartbeats', silent)
  local generation = redis.call('HGET', prefix .. 'declarations', 'generation') or ''
  local form = tonumber(redis.call('HGET', prefix .. 'schema', 'form')) or 1
  return cmsgpack.pack({heartbeats(prefix, now, silence), generation, now, form})
end)

-- Says that a replica lives no more.
register('leave', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  redis.call('ZREM', prefix .. 'replicas', ask[1])
  redis.call('HDEL', prefix .. 'heartbeats', ask[1])
  return ''
end, {'allow-oom'})

-- What the keys of a bus' seats begin with.
local function hall_of(prefix, bus)
  return bus == 'mqtt' and prefix or prefix .. bus .. ':'
end

-- Seats, by name: whose each is, and until when; what of it has run out is nobody's. `ran_out` are those of which it has.
local function seats_of(hall, now)
  local holders, untils, ran_out = {}, {}, {}
  local stored = redis.call('HGETALL', hall .. 'seats')
  for i = 1, #stored, 2 do
    local seat, holder = stored[i], stored[i + 1]
    local till = tonumber(redis.call('ZSCORE', hall .. 'seated', seat) or 0)
    if holder ~= '' and till <= now then
      holder, ran_out[seat] = '', true
    end
    holders[seat], untils[seat] = holder, till
  end
  return holders, untils, ran_out
end

local function seat_is(hall, seat, holder, till)
  redis.call('HSET', hall .. 'seats', seat, holder)
  redis.call('ZADD', hall .. 'seated', exact(till), seat)
end

-- How many of so many seats are a sitter's: as many as everybody's, and of those that are left over one each for who has
-- one already, and then by name.
local function share_of(name, wanted, sitters, holders)
  local counts = {}
  for _, seat in ipairs(wanted) do
    local holder = holders[seat] or ''
    counts[holder] = (counts[holder] or 0) + 1
  end
  local each, left = math.floor(#wanted / #sitters), #wanted % #sitters
  table.sort(sitters, function(a, b)
    local more_a, more_b = (counts[a] or 0) > each, (counts[b] or 0) > each
    if more_a ~= more_b then
      return more_a
    end
    return a < b
  end)
  for rank, sitter in ipairs(sitters) do
    if sitter == name then
      return rank <= left and each + 1 or each
    end
  end
end

-- Says who shares some seats, keeps those that they have and want to keep, lets go of the others, and gives them what is
-- nobody's up to their share, and of seats that nobody asked for one, to be cleared. Who was not among the sitters until
-- now gets none of those whose lease has run out: after an outage whoever had them comes as soon.
register('sit', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local hall = hall_of(prefix, ask[7])
  local name, lease, wanted, keep, cleared, left = ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
  local known = tonumber(redis.call('ZSCORE', hall .. 'sitters', name) or 0) > now
  redis.call('ZADD', hall .. 'sitters', exact(now + lease), name)
  in_pieces('HDEL', hall .. 'asks', redis.call('ZRANGEBYSCORE', hall .. 'sitters', '-inf', exact(now)))
  redis.call('ZREMRANGEBYSCORE', hall .. 'sitters', '-inf', exact(now))
  local asks = table.concat(wanted, '\n')
  redis.call('HSET', hall .. 'asks', name, asks)
  local sitters = {}
  for _, sitter in ipairs(redis.call('ZRANGE', hall .. 'sitters', 0, -1)) do
    -- a version that does not say what it asks for counts with all
    if (redis.call('HGET', hall .. 'asks', sitter) or asks) == asks then
      sitters[#sitters + 1] = sitter
    end
  end
  local holders, untils, ran_out = seats_of(hall, now)
  for _, reached in ipairs(ask[8]) do
    local seat, position = reached[1], reached[2]
    local before = tonumber(redis.call('HGET', hall .. 'positions', seat))
    if (holders[seat] == name or (holders[seat] or '') == '') and (not before or before < position) then
      redis.call('HSET', hall .. 'positions', seat, exact(position))
    end
  end
  for _, seat in ipairs(cleared) do
    if holders[seat] == name or holders[seat] == '' then
      redis.call('HDEL', hall .. 'positions', seat)
      redis.call('HDEL', hall .. 'seats', seat)
      redis.call('ZREM', hall .. 'seated', seat)
      holders[seat] = nil
    end
  end
  for _, seat in ipairs(left) do
    if not holders[seat] then
      holders[seat] = ''
      seat_is(hall, seat, '', now)
    end
  end
  local kept = {}
  for _, seat in ipairs(keep) do
    -- also where the store has forgotten it
    if (holders[seat] or '') == '' or holders[seat] == name then
      kept[seat] = true
      holders[seat] = name
      seat_is(hall, seat, name, now + lease)
    end
  end
  for seat, holder in pairs(holders) do
    if holder == name and not kept[seat] then
      holders[seat] = ''
      seat_is(hall, seat, '', now)
    end
  end
  local share = share_of(name, wanted, sitters, holders)
  local asked_for, has = {}, 0
  for _, seat in ipairs(wanted) do
    asked_for[seat] = true
    if holders[seat] == name then
      has = has + 1
    end
  end
  local mine, elsewhere, soonest, positions = {}, {}, 0, {}
  for _, seat in ipairs(wanted) do
    local holder = holders[seat] or ''
    if holder == '' and has < share and (known or not ran_out[seat]) then
      holder, has = name, has + 1
      seat_is(hall, seat, name, now + lease)
    end
    if holder == name then
      mine[#mine + 1] = seat
      local position = tonumber(redis.call('HGET', hall .. 'positions', seat))
      if position then
        positions[#positions + 1] = {seat, position}
      end
    elseif holder ~= '' then
      elsewhere[#elsewhere + 1] = seat
      if soonest == 0 or untils[seat] < soonest then
        soonest = untils[seat]
      end
    end
  end
  local spare, spares = '', {}
  for seat, holder in pairs(holders) do
    if not asked_for[seat] then
      if holder == name then
        spare = seat
      elseif holder == '' and (known or not ran_out[seat]) then
        spares[#spares + 1] = seat
      end
    end
  end
  if spare == '' and (#mine > 0 or #wanted == 0) and #spares > 0 then
    table.sort(spares)
    spare = spares[1]
    seat_is(hall, spare, name, now + lease)
  end
  return cmsgpack.pack({mine, share, elsewhere, spare, soonest == 0 and 0 or soonest - now, positions})
end, {'allow-oom'})

-- Says that somebody shares no seats any more; what they had is nobody's.
register('rise', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  for _, bus in ipairs(ask[2]) do
    local hall = hall_of(prefix, bus)
    redis.call('ZREM', hall .. 'sitters', ask[1])
    redis.call('HDEL', hall .. 'asks', ask[1])
    for seat, holder in pairs(seats_of(hall, now)) do
      if holder == ask[1] then
        seat_is(hall, seat, '', now)
      end
    end
  end
  return ''
end, {'allow-oom'})

-- Puts declarations into force, unless newer ones have superseded them; what is in force then.
register('publish', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local generation, insist, most, documents = ask[1], ask[2], ask[3], args[3]
  local key, list = prefix .. 'declarations', prefix .. 'generations'
  local present = redis.call('HGET', key, 'generation')
  if present and redis.call('LPOS', list, generation) then
    if present == generation or not insist then
      return present
    end
    redis.call('LREM', list, 0, generation)
  end
  redis.call('LPUSH', list, generation)
  redis.call('LTRIM', list, 0, most - 1)
  redis.call('HSET', key, 'generation', generation, 'documents', documents)
  return generation
end)
