-- Draws: what the ledger of draws asks. What changes rows is a function of the migrations.

-- name: enter
select word, entry_id, entered_ms from enter_draw($1, $2)

-- name: entered
select e.entry_id, ms(e.entered_at) as entered_ms
from unnest($2::text[]) with ordinality as a (user_id, n)
left join lateral (
    select * from sale_entries s where s.sale_id = $1 and s.user_id = a.user_id collate "C" limit 1
) e on true
order by a.n

-- name: withdraw
select withdraw_entry($1, $2) as withdrawn

-- name: record
select * from draw_view where sale_id = $1

-- name: entry_count
select coalesce(size, open_entries(sale_id)) as entries from draw_view where sale_id = $1

-- name: close
select * from close_draw($1)

-- name: entry_ids
-- Read from the index, in its order, so the pieces are joined without sorting.
select string_agg(l.entry_id, ''::bytea) as entries
from (
    select e.entry_id
    from sale_entries e
    where e.sale_id = $1 and exists (select from sale_draws d where d.sale_id = $1 and d.closed_at is not null)
    order by e.entry_id
) l

-- name: store_root
select * from store_draw_root($1, $2)

-- name: store_order
select * from store_draw_order($1, $2, $3, $4)
