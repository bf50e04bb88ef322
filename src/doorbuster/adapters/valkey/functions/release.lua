-- release: gives the units of holds back, once per hold (compare-and-delete by hold id)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   pending     hold ids not yet confirmed, by the time they were taken
-- Arguments:
--   epoch       the epoch the holds belong to
-- Rows:
--   hold_id     the hold
--   user_id     its buyer; a hold of somebody else is left alone
--   key_fate    keep, or forget: the idempotency key is forgotten too
-- Replies:
--   released    then units returned to stock
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   stock rises by exactly the units of the holds deleted; a hold that is gone moves nothing
--   a key is forgotten only while it answers with the hold released
-- Cost:
--   5 calls to read and 7 to write, whatever the number of rows; at most ROWS_MAX rows

local FIELDS_PER_ROW = 3

-- The rows whose hold exists and is theirs: hold ids, units by buyer, key fields to forget, units in all.
local function find_holds(holds_key, args)
  local ids = {}
  for at = 2, #args, FIELDS_PER_ROW do
    ids[#ids + 1] = args[at]
  end
  local records = redis.call('HMGET', holds_key, unpack(ids))
  local found = { ids = {}, users = {}, units_of = {}, fields = {}, owners = {}, units = 0 }
  local done = {}
  for row, hold_id in ipairs(ids) do
    local at = 2 + (row - 1) * FIELDS_PER_ROW
    if records[row] and not done[hold_id] then
      local user_id, key, quantity = unpack_hold(records[row])
      if user_id == args[at + 1] then
        done[hold_id] = true
        found.ids[#found.ids + 1] = hold_id
        found.units = found.units + tonumber(quantity)
        if not found.units_of[user_id] then
          found.users[#found.users + 1] = user_id
        end
        found.units_of[user_id] = (found.units_of[user_id] or 0) + tonumber(quantity)
        if args[at + 2] == 'forget' then
          found.fields[#found.fields + 1] = user_id .. US .. key
          found.owners[#found.owners + 1] = hold_id .. US
        end
      end
    end
  end
  return found
end

local function lower_claims(claims_key, found)
  local claims = redis.call('HMGET', claims_key, unpack(found.users))
  local kept, dropped = {}, {}
  for at, user_id in ipairs(found.users) do
    local left = tonumber(claims[at] or 0) - found.units_of[user_id]
    if left > 0 then
      kept[#kept + 1] = user_id
      kept[#kept + 1] = left
    else
      dropped[#dropped + 1] = user_id
    end
  end
  if #kept > 0 then
    redis.call('HSET', claims_key, unpack(kept))
  end
  if #dropped > 0 then
    redis.call('HDEL', claims_key, unpack(dropped))
  end
end

local function forget_keys(keys_key, found)
  if #found.fields == 0 then
    return
  end
  local values = redis.call('HMGET', keys_key, unpack(found.fields))
  local forgotten = {}
  for at, owner in ipairs(found.owners) do
    if values[at] and string.sub(values[at], 1, #owner) == owner then
      forgotten[#forgotten + 1] = found.fields[at]
    end
  end
  if #forgotten > 0 then
    redis.call('HDEL', keys_key, unpack(forgotten))
  end
end

local function release(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, pending_key = unpack(keys)
  local epoch, count = whole(args[1]), (#args - 1) / FIELDS_PER_ROW
  if not epoch or count < 1 or count % 1 ~= 0 or count > ROWS_MAX then
    return bad_call('release: malformed batch')
  end

  local image, problem = image_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  local found = find_holds(holds_key, args)
  if found.units == 0 then
    return { 'released', 0 }
  end

  -- Point of no return.
  redis.call('HDEL', holds_key, unpack(found.ids))
  redis.call('ZREM', pending_key, unpack(found.ids))
  lower_claims(claims_key, found)
  forget_keys(keys_key, found)
  redis.call('INCRBY', stock_key, found.units) -- I2: never a blind give-back, the holds above were ours to delete
  redis.call('HSET', meta_key, 'held', image.held - found.units, 'tick', image.tick + 1)
  return { 'released', found.units }
end

register('release', release)
