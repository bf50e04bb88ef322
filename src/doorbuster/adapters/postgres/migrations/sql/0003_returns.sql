-- How holds end, counted where they end: what chance and waiting time are told from.

-- The caller has locked the sale's row.
create function count_pulse(p_sale_id uuid, p_at timestamptz, p_granted bigint, p_returned bigint)
returns void language plpgsql as $$
declare
    v_second bigint := ms(p_at) / 1000;
begin
    insert into sale_pulse as p (sale_id, second, granted, returned)
    values (p_sale_id, v_second, p_granted, p_returned)
    on conflict (sale_id, second) do update
    set granted = p.granted + excluded.granted, returned = p.returned + excluded.returned;
    delete from sale_pulse where sale_id = p_sale_id and second < v_second - 600;
end
$$;

-- Units of orders that own them no longer, back to the sale: count, allowance, log, release row. The caller has locked
-- the sale's row and written the orders. `p_paid`: the units were bought, not only held.
create or replace function give_back(
    p_sale_id uuid, p_order_ids uuid[], p_users text[], p_quantities integer[], p_kind text, p_at timestamptz,
    p_paid boolean
) returns void language plpgsql as $$
declare
    v_sale flash_sales;
    v_units integer := (select sum(q) from unnest(p_quantities) q);
    v_log record;
begin
    select * into strict v_sale from flash_sales where sale_id = p_sale_id for no key update;

    update user_sale_eligibility e
    set quantity_purchased = e.quantity_purchased - given.units
    from (
        select user_id, sum(quantity) as units
        from unnest(p_users, p_quantities) as g (user_id, quantity)
        group by user_id
    ) given
    where e.sale_id = p_sale_id and e.user_id = given.user_id;

    select * into v_log from append_log(v_sale, p_kind, p_order_ids, p_quantities, v_sale.epoch, p_at);

    insert into sale_releases (sale_id, hold_id, user_id, epoch, forget_key, created_at)
    select p_sale_id, id, user_id, v_sale.epoch, false, p_at
    from unnest(p_order_ids, p_users) as g (id, user_id);

    update flash_sales set
        quantity_sold = quantity_sold - v_units,
        quantity_paid = quantity_paid - case when p_paid then v_units else 0 end,
        orders_paid = orders_paid - case when p_paid then cardinality(p_order_ids) else 0 end,
        orders_returned = orders_returned + cardinality(p_order_ids),
        -- The clock ends a sale; a unit that comes back after the end changes nothing but the counts.
        status = case when status = 'SOLD_OUT' then 'ACTIVE' else status end,
        log_head = v_log.head,
        log_size = v_log.size,
        updated_at = p_at
    where sale_id = p_sale_id;
    if v_sale.mode <> 'race' then
        perform count_pulse(p_sale_id, p_at, 0, v_units);
    end if;
end
$$;

-- RESERVED to PAID for orders of one sale, whose row the caller has locked: count and log with it. Returns those that
-- were RESERVED.
create or replace function pay_orders(p_sale_id uuid, p_order_ids uuid[]) returns setof uuid language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz := clock_ms();
    v_ids uuid[];
    v_quantities integer[];
    v_log record;
begin
    with paid as (
        update sale_orders set status = 'PAID', closed_at = v_now, closed_by = 'payment'
        where order_id = any(p_order_ids) and sale_id = p_sale_id and status = 'RESERVED'  -- I12 I13
        returning order_id, quantity
    )
    select array_agg(order_id order by order_id), array_agg(quantity order by order_id)
    into v_ids, v_quantities
    from paid;
    if v_ids is null then
        return;
    end if;
    select * into strict v_sale from flash_sales where sale_id = p_sale_id for no key update;
    select * into v_log from append_log(v_sale, 'paid', v_ids, v_quantities, v_sale.epoch, v_now);
    update flash_sales
    set quantity_paid = quantity_paid + (select sum(q) from unnest(v_quantities) q),
        orders_paid = orders_paid + cardinality(v_ids),
        log_head = v_log.head, log_size = v_log.size, updated_at = v_now
    where sale_id = p_sale_id;
    return query select unnest(v_ids);
end
$$;
