-- Groups:
--   `group:NAME`        hash: version, record; of the newest decision: hold (what makes two holds equal, empty for no
--                       hold), times and first (how many in a row it stands for, and since when)
--   `decisions:NAME`    list, newest first, of "times first json"
--   `decided:NAME`      hash: decision id -> the same text; `decided-ids:NAME` is the list of ids, newest first
--   `freeze`            hash: number (freezes are numbered, a late one must not undo a newer), token, record

local function frozen(prefix)
  local known = redis.call('HMGET', prefix .. 'freeze', 'token', 'record')
  return known[1] or '', known[2] or ''
end

local function group_state(prefix, name, now)
  local _, freeze = frozen(prefix)
  return {redis.call('HGET', prefix .. 'group:' .. name, 'record') or '', freeze, now}
end

register('group', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  return cmsgpack.pack(group_state(prefix, ask[1], now))
end, {'no-writes'})

-- Puts a decision on top, or in the place of an equal hold; how it was kept.
local function keep(prefix, name, decision, coalesce, most)
  local group, list = prefix .. 'group:' .. name, prefix .. 'decisions:' .. name
  local known = redis.call('HMGET', group, 'hold', 'times', 'first')
  local times, first = decision.times, decision.first[1]
  local joins = coalesce and decision.hold ~= '' and decision.hold == known[1]
  if joins then
    times, first = tonumber(known[2]) + times, tonumber(known[3])
  end
  local text = whole_number(times) .. ' ' .. (first and exact(first) or '-') .. ' ' .. decision.json
  if joins then
    redis.call('LSET', list, 0, text)
  else
    redis.call('LPUSH', list, text)
    redis.call('LTRIM', list, 0, most - 1)
  end
  redis.call('HSET', group, 'hold', decision.hold, 'times', whole_number(times), 'first', exact(first or decision.time))
  redis.call('HSET', prefix .. 'decided:' .. name, decision.id, text)
  if redis.call('LPUSH', prefix .. 'decided-ids:' .. name, decision.id) > most then
    redis.call('HDEL', prefix .. 'decided:' .. name, redis.call('RPOP', prefix .. 'decided-ids:' .. name))
  end
  return text
end

local PUT, DECIDED, CHANGED = 0, 1, 2

-- Has all that is kept of a group end after so many milliseconds, or not.
local function end_after(prefix, name, milliseconds)
  for _, kind in ipairs({'group:', 'decisions:', 'decided:', 'decided-ids:'}) do
    if milliseconds then
      redis.call('PEXPIRE', prefix .. kind .. name, milliseconds)
    else
      redis.call('PERSIST', prefix .. kind .. name)
    end
  end
end

-- Compares and sets a group's record, with its decision and the time at which the target is to be looked at.
register('put_group', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local key, decision = prefix .. 'group:' .. ask.name, ask.decision[1]
  if decision then
    local before = redis.call('HGET', prefix .. 'decided:' .. ask.name, decision.id)
    if before then
      return cmsgpack.pack({DECIDED, before, {}})
    end
  end
  if (tonumber(redis.call('HGET', key, 'version')) or 0) ~= ask.expected or frozen(prefix) ~= ask.token then
    return cmsgpack.pack({CHANGED, '', group_state(prefix, ask.name, now)})
  end
  redis.call('HSET', key, 'version', whole_number(ask.version), 'record', ask.record)
  if ask.reconcile_at[1] then
    due_at(prefix, 'group:' .. ask.name, ask.reconcile_at[1])
  end
  local kept = decision and keep(prefix, ask.name, decision, ask.coalesce, ask.decisions) or ''
  end_after(prefix, ask.name, ask.kept[1])
  return cmsgpack.pack({PUT, kept, {}})
end)

-- Holds everything of this shard, or nothing any more.
register('freeze', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local number, token, record = ask[1], ask[2], ask[3]
  local key = prefix .. 'freeze'
  if (tonumber(redis.call('HGET', key, 'number')) or 0) < number then
    redis.call('HSET', key, 'number', whole_number(number), 'token', token, 'record', record)
  end
  return ''
end)
