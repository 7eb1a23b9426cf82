-- The part that all functions share.
--
-- The files of this folder are joined in the order of their names into one library; `LIBRARY` stands before them and is
-- the library's name, which carries a digest of the text, so that libraries of several versions live side by side. So
-- does `FORM`, the newest form of the state that the library knows: it touches nothing that is in a newer one, whoever
-- calls it, however long they have slept.
--   `schema`  hash of each shard and of the hub: form (none is the first), oldest, by, since
--
-- A function is called with the prefixes of the shards that it works on as keys ("NAMESPACE:{s07}:"), and
--   now, in Unix seconds; "" in production: then it is the server's clock
-- and for each of the prefixes
--   what is asked, as MessagePack
--   bytes as they are, such as packed points
-- It answers a list with an answer for each, and is written as if there were one: `keys` has that prefix, and `args` has
-- now, what is asked, and the bytes. In a cluster there is one. It touches no key outside its shards. Answers are
-- MessagePack, in arrays: an empty Lua table would not say whether it is a list or a map, and nil ends a list. What may
-- be missing is a list of none or one.

local function register(name, callback, flags)
  local function guarded(keys, args)
    local answers = {}
    for i, prefix in ipairs(keys) do
      local form = redis.call('HGET', prefix .. 'schema', 'form')
      if form and tonumber(form) > FORM then
        return redis.error_reply('NEWERSTATE ' .. form)
      end
      answers[i] = callback({prefix}, {args[1], args[2 * i], args[2 * i + 1]})
    end
    return answers
  end
  redis.register_function{function_name = LIBRARY .. '_' .. name, callback = guarded, flags = flags or {}}
end

local function clock(args)
  if args[1] ~= '' then
    return tonumber(args[1])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function asked(keys, args)
  return keys[1], clock(args), cmsgpack.unpack(args[2])
end

-- Numbers as text: Lua's own way keeps 14 digits only.
local function exact(number)
  return string.format('%.17g', number)
end

local function whole_number(number)
  return string.format('%.0f', number)
end

local function maybe(value)
  if value then
    return {value}
  end
  return {}
end

-- Calls command(key, ...) with a list of any length, some at a time: Lua's stack is short.
local function in_pieces(command, key, list)
  for from = 1, #list, 1000 do
    redis.call(command, key, unpack(list, from, math.min(from + 999, #list)))
  end
end

-- Makes work due, or leaves it where it is due earlier.
local function due_at_latest(prefix, item, due)
  redis.call('ZADD', prefix .. 'work', 'LT', exact(due), item)
end

local function due_at(prefix, item, due)
  redis.call('ZADD', prefix .. 'work', exact(due), item)
end

-- The first so many of a list, as they are.
register('first', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return redis.call('LRANGE', prefix .. ask[1], 0, ask[2] - 1)
end, {'no-writes'})

-- {form, oldest, by}: what is stored under the prefix is in this form from now on, unless it is in a newer one.
register('raise', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local key, form, oldest, by = prefix .. 'schema', ask[1], ask[2], ask[3]
  if (tonumber(redis.call('HGET', key, 'form')) or 0) < form then
    redis.call('HSET', key, 'form', whole_number(form), 'by', by, 'since', exact(now))
    redis.call('HSETNX', key, 'oldest', whole_number(oldest))
  end
  return ''
end)
