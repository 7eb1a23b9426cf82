-- Work: a sorted set `work` of "kind:key" by due time. Whoever claims an item moves it on by a lease, so that it comes
-- up again should they die; whoever has finished moves or removes it.

-- Each {kind, key, due}: makes it due then, or leaves it where it is due earlier.
register('mark', function(keys, args)
  local prefix, _, items = asked(keys, args)
  for _, item in ipairs(items) do
    local kind, key, due = item[1], item[2], item[3]
    due_at_latest(prefix, kind .. ':' .. key, due)
    if kind == 'window' and redis.call('EXISTS', prefix .. 'window:' .. key) == 1 then
      -- a `done` of an evaluation that is under way must not take the mark away
      redis.call('HINCRBY', prefix .. 'window:' .. key, 'version', 1)
    end
  end
  return ''
end)

-- Whether work is leased as somebody says who has it in hand: until then, or (0) until any time, and not put off.
local function is_leased(prefix, kind, key, due, leased_until)
  if leased_until ~= 0 then
    return leased_until == due
  end
  return due and not (kind == 'lane' and redis.call('SISMEMBER', prefix .. 'waiting', key) == 1)
end

-- {lease, {{kind, key, leased until}, …}}: leases work anew where it is leased like that; until when it is now, 0 where
-- it is not.
register('hold', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local times = {}
  for i, work in ipairs(ask[2]) do
    local item, leased_until = work[1] .. ':' .. work[2], work[3]
    local due = tonumber(redis.call('ZSCORE', prefix .. 'work', item))
    if is_leased(prefix, work[1], work[2], due, leased_until) then
      times[i] = now + ask[1]
      due_at(prefix, item, times[i])
    else
      times[i] = 0
    end
  end
  return cmsgpack.pack(times)
end, {'allow-oom'})

-- Moves claimed work on or takes it away, unless it was marked meanwhile or claimed by another.
register('finish', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local item, leased_until, next_due = ask[1] .. ':' .. ask[2], ask[3], ask[4][1]
  if tonumber(redis.call('ZSCORE', prefix .. 'work', item)) == leased_until then
    if next_due then
      due_at(prefix, item, next_due)
    else
      redis.call('ZREM', prefix .. 'work', item)
    end
  end
  return ''
end, {'allow-oom'})

local function due_items(prefix, now, limit)
  local found = redis.call('ZRANGEBYSCORE', prefix .. 'work', '-inf', exact(now), 'WITHSCORES', 'LIMIT', 0, limit)
  local items, dues = {}, {}
  for i = 1, #found, 2 do
    items[#items + 1], dues[#dues + 1] = found[i], tonumber(found[i + 1])
  end
  local rest = redis.call('ZRANGE', prefix .. 'work', #items, #items, 'WITHSCORES')
  return items, dues, maybe(tonumber(rest[2]))
end

-- At most `limit` due items with their due times, oldest first, and the due time of the one after them.
register('due', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local items, dues, rest = due_items(prefix, now, ask[1])
  return cmsgpack.pack({items, dues, rest, now, now})
end, {'no-writes'})

-- The same, leased to the caller until the time that comes last.
register('claim', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local items, dues, rest = due_items(prefix, now, ask[1])
  local leased_until = now + ask[2]
  local leases, until_then = {}, exact(leased_until)
  for _, item in ipairs(items) do
    leases[#leases + 1], leases[#leases + 2] = until_then, item
    if string.sub(item, 1, 5) == 'lane:' then
      redis.call('SREM', prefix .. 'waiting', string.sub(item, 6))
    end
  end
  in_pieces('ZADD', prefix .. 'work', leases)
  return cmsgpack.pack({items, dues, rest, now, leased_until})
end)

-- A schedule's due time: as stored, or `first` where it is new or has changed. Empty means never.
register('schedule', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local name, digest, first = ask[1], ask[2], ask[3]
  local key, item = prefix .. 'schedule:' .. name, 'schedule:' .. name
  local known = redis.call('HMGET', key, 'digest', 'due')
  if known[1] ~= digest then
    redis.call('HSET', key, 'digest', digest, 'due', exact(first))
    due_at(prefix, item, first)
    return cmsgpack.pack({first})
  end
  local due = tonumber(known[2])
  if due then
    redis.call('ZADD', prefix .. 'work', 'NX', exact(due), item)
  end
  return cmsgpack.pack(maybe(due))
end)

-- Moves a schedule on, unless it was moved before.
register('advance', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local name, due, following = ask[1], ask[2], ask[3][1]
  local key, item = prefix .. 'schedule:' .. name, 'schedule:' .. name
  if tonumber(redis.call('HGET', key, 'due')) ~= due then
    return cmsgpack.pack({false})
  end
  if following then
    redis.call('HSET', key, 'due', exact(following))
    due_at(prefix, item, following)
  else
    redis.call('HSET', key, 'due', '')
    redis.call('ZREM', prefix .. 'work', item)
  end
  return cmsgpack.pack({true})
end)
