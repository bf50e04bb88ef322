-- take: decides a batch of asks in one atomic step (R2)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   pending     hold ids not yet confirmed, by the time they were taken
--   blocked     buyers who may not take part
-- Arguments:
--   epoch_min   lowest epoch the caller believes
--   now_ms      milliseconds, the database's clock
-- Rows:
--   hold_id     id of the hold to make; never used before
--   user_id     the buyer
--   quantity    units, at least 1
--   key         idempotency key
--   digest      hash of the body that came with the key
-- Replies:
--   no_image    there is no image that can be believed; nothing was read as a number
--   stale_epoch the image is older than epoch_min; then epoch, available, stock, tick
--   decided     then epoch, available, stock, tick, and one word per row: seen (with US and the hold id), mismatch,
--               paused, not_started, over, blocked, limit, no_stock, held
-- Invariants:
--   stock never falls below 0; stock falls by exactly the units of the rows answered held
--   a buyer's claims never exceed limit, also when several rows of one batch are theirs
--   a key makes one hold, also when it comes twice in one batch
-- Cost:
--   5 calls to read and 6 to write, whatever the number of rows; at most ROWS_MAX rows

local FIELDS_PER_ROW = 5

local function closed_word(image, now_ms)
  if image.state == 'paused' then
    return 'paused'
  end
  if now_ms < image.opens and image.state ~= 'over' then
    return 'not_started'
  end
  if image.state == 'over' or now_ms >= image.ends then
    return 'over'
  end
  return nil
end

-- What an earlier use of the key makes of this row.
local function seen_word(earlier, digest)
  local at = string.find(earlier, US, 1, true)
  if string.sub(earlier, at + 1) ~= digest then
    return 'mismatch'
  end
  return 'seen' .. US .. string.sub(earlier, 1, at - 1)
end

local function take(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, pending_key, blocked_key = unpack(keys)
  local epoch_min, now_ms, now_text = whole(args[1]), whole(args[2]), args[2]
  local count = (#args - 2) / FIELDS_PER_ROW
  if not epoch_min or not now_ms or count % 1 ~= 0 or count > ROWS_MAX then
    return bad_call('take: malformed batch')
  end

  local image = read_image(meta_key, stock_key)
  if not image then
    return { 'no_image' }
  end
  if image.epoch < epoch_min then -- I12
    return { 'stale_epoch', image.epoch, image.available, image.stock, image.tick }
  end
  local reply = { 'decided', image.epoch, image.available, image.stock, image.tick }
  if count == 0 then
    return reply
  end

  local users, key_fields = {}, {}
  for row = 1, count do
    local at = 2 + (row - 1) * FIELDS_PER_ROW
    local quantity = whole(args[at + 3])
    if not quantity or quantity < 1 then
      return bad_call('take: a quantity is not a positive whole number')
    end
    users[row] = args[at + 2]
    key_fields[row] = args[at + 2] .. US .. args[at + 4]
  end

  local seen = redis.call('HMGET', keys_key, unpack(key_fields))
  local closed = closed_word(image, now_ms)
  local blocked, claims
  if not closed then
    blocked = redis.call('SMISMEMBER', blocked_key, unpack(users))
    claims = redis.call('HMGET', claims_key, unpack(users))
  end

  local stock, taken = image.stock, 0
  local new_keys, new_claims = {}, {}
  local hold_writes, key_writes, pending_writes = {}, {}, {}
  for row = 1, count do
    local at = 2 + (row - 1) * FIELDS_PER_ROW
    local user_id, quantity, field = users[row], tonumber(args[at + 3]), key_fields[row]
    local earlier = new_keys[field] or seen[row]
    local word
    if earlier then
      word = seen_word(earlier, args[at + 5]) -- I5
    elseif closed then
      word = closed
    elseif blocked[row] == 1 then
      word = 'blocked'
    else
      local claimed = new_claims[user_id] or tonumber(claims[row] or 0)
      if claimed + quantity > image.limit then -- I6
        word = 'limit'
      elseif quantity > stock then -- I1
        word = 'no_stock'
      else
        word = 'held'
        local hold_id, key, digest = args[at + 1], args[at + 4], args[at + 5]
        stock, taken = stock - quantity, taken + quantity
        new_claims[user_id] = claimed + quantity
        new_keys[field] = hold_id .. US .. digest
        local last = #hold_writes
        hold_writes[last + 1] = hold_id
        hold_writes[last + 2] = pack_hold(user_id, quantity, now_text, key, digest)
        key_writes[last + 1] = field
        key_writes[last + 2] = new_keys[field]
        pending_writes[last + 1] = now_text
        pending_writes[last + 2] = hold_id
      end
    end
    reply[5 + row] = word
  end
  if taken == 0 then
    return reply
  end

  local claim_writes = {}
  for user_id, units in pairs(new_claims) do
    claim_writes[#claim_writes + 1] = user_id
    claim_writes[#claim_writes + 1] = units
  end
  -- Point of no return. The keys not read above come first: should one have a wrong type, nothing has changed yet.
  redis.call('HSET', holds_key, unpack(hold_writes))
  redis.call('ZADD', pending_key, unpack(pending_writes))
  redis.call('HSET', keys_key, unpack(key_writes))
  redis.call('HSET', claims_key, unpack(claim_writes))
  redis.call('DECRBY', stock_key, taken)
  redis.call('HSET', meta_key, 'held', image.held + taken, 'tick', image.tick + 1)
  reply[4], reply[5] = stock, image.tick + 1
  return reply
end

register('take', take)
