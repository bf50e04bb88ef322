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
-- Columns:
--   hold_id     ids of the holds to make; never used before
--   user_id     the buyers
--   quantity    units, at least 1
--   user_key    buyer, US and idempotency key
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
--   6 calls to read and 6 to write, whatever the number of rows; at most ROWS_MAX rows

-- Asks come as columns (all hold ids, then all buyers, ...), so that a column can be handed on without a copy.
local ARGUMENTS, COLUMNS = 2, 5

local function closed_word(image, now_ms)
  if image.state == 'paused' then
    return 'paused'
  end
  -- A sale that was ended or aborted before its start does not start any more.
  if now_ms < image.opens and image.state ~= 'over' then
    return 'not_started'
  end
  if image.state == 'over' or now_ms >= image.ends then
    return 'over'
  end
  return nil
end

-- What an earlier use of the key makes of an ask. A record that cannot be read matches nothing.
local function seen_word(earlier, digest)
  local at = string.find(earlier, US, 1, true)
  if not at or string.sub(earlier, at + 1) ~= digest then
    return 'mismatch'
  end
  return 'seen' .. US .. string.sub(earlier, 1, at - 1)
end

-- What is to be written for one ask that is answered held. Numbers go in as the texts they came as: formatting them
-- again would cost more than the rest of the row.
local function note_hold(draft, hold_id, quantity_text, user_key, digest, now_text)
  local last = draft.last
  local value = hold_id .. US .. digest
  draft.holds[last + 1] = hold_id
  draft.holds[last + 2] = pack_hold(user_key, quantity_text, now_text, digest)
  draft.keys[last + 1] = user_key
  draft.keys[last + 2] = value
  draft.pending[last + 1] = now_text
  draft.pending[last + 2] = hold_id
  draft.last = last + 2
  draft.new_keys[user_key] = value
end

-- Answers every ask in turn, each on what those before it have left; nothing is written yet.
local function decide(image, now_ms, count, args, keys_key, blocked_key, claims_key, reply)
  local holds_at, users_at, quantities_at = ARGUMENTS, ARGUMENTS + count, ARGUMENTS + 2 * count
  local user_keys_at, digests_at = ARGUMENTS + 3 * count, ARGUMENTS + 4 * count
  local seen = redis.call('HMGET', keys_key, unpack(args, user_keys_at + 1, user_keys_at + count))
  local closed = closed_word(image, now_ms)
  local blocked, claims
  if not closed then
    blocked = redis.call('SMISMEMBER', blocked_key, unpack(args, users_at + 1, users_at + count))
    claims = redis.call('HMGET', claims_key, unpack(args, users_at + 1, users_at + count))
  end

  local stock, limit = image.stock, image.limit
  local draft = { holds = {}, keys = {}, pending = {}, new_keys = {}, new_claims = {}, last = 0 }
  local new_keys, new_claims = draft.new_keys, draft.new_claims
  for row = 1, count do
    local user_id, quantity_text, user_key = args[users_at + row], args[quantities_at + row], args[user_keys_at + row]
    local earlier = seen[row] or new_keys[user_key]
    local word
    if earlier then
      word = seen_word(earlier, args[digests_at + row]) -- I5
    elseif closed then
      word = closed
    elseif blocked[row] == 1 then
      word = 'blocked'
    else
      local quantity, claimed = tonumber(quantity_text), tonumber(new_claims[user_id] or claims[row] or 0)
      if not claimed or claimed + quantity > limit then -- I6; a count that cannot be read is no permission
        word = 'limit'
      elseif quantity > stock then -- I1
        word = 'no_stock'
      else
        word = 'held'
        stock = stock - quantity
        new_claims[user_id] = claimed == 0 and quantity_text or claimed + quantity
        note_hold(draft, args[holds_at + row], quantity_text, user_key, args[digests_at + row], args[2])
      end
    end
    reply[5 + row] = word
  end
  return stock, draft
end

local function take(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, pending_key, blocked_key = unpack(keys)
  local epoch_min, now_ms = whole(args[1]), whole(args[2])
  local count = (#args - ARGUMENTS) / COLUMNS
  if not epoch_min or not now_ms or count % 1 ~= 0 or count > ROWS_MAX then
    return bad_call('take: malformed batch')
  end
  for at = ARGUMENTS + 2 * count + 1, ARGUMENTS + 3 * count do
    local quantity = tonumber(args[at])
    if not quantity or quantity < 1 or quantity % 1 ~= 0 then
      return bad_call('take: a quantity is not a positive whole number')
    end
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
  local stock, draft = decide(image, now_ms, count, args, keys_key, blocked_key, claims_key, reply)
  if draft.last == 0 then
    return reply
  end

  local taken, claims = image.stock - stock, {}
  for user_id, units in pairs(draft.new_claims) do
    claims[#claims + 1] = user_id
    claims[#claims + 1] = units
  end
  -- Every key but the first has been read by now: should one have a wrong type, nothing has changed yet.
  redis.call('ZCARD', pending_key)
  -- Point of no return.
  redis.call('HSET', holds_key, unpack(draft.holds))
  redis.call('ZADD', pending_key, unpack(draft.pending))
  redis.call('HSET', keys_key, unpack(draft.keys))
  redis.call('HSET', claims_key, unpack(claims))
  redis.call('DECRBY', stock_key, taken)
  redis.call('HSET', meta_key, 'held', image.held + taken, 'tick', image.tick + 1)
  reply[4], reply[5] = stock, image.tick + 1
  return reply
end

register('take', take)
