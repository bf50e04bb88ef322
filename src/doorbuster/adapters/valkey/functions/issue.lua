-- issue: lets more numbers be issued; the ledger's mark was raised before (Q2)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
-- Arguments:
--   epoch       the epoch of the image to change
--   high        numbers up to here may be issued
-- Replies:
--   issued      numbers up to here, or to a higher mark, may be issued
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   the mark never falls
-- Cost:
--   3 calls to read and 1 to write

local function issue(keys, args)
  local meta_key, stock_key = unpack(keys)
  local epoch, high = whole(args[1]), whole(args[2])
  if not epoch or not high then
    return bad_call('issue: malformed call')
  end
  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end

  if high > line.high then
    redis.call('HSET', meta_key, 'high', args[2], 'tick', image.tick + 1)
  end
  return { 'issued' }
end

register('issue', issue)
