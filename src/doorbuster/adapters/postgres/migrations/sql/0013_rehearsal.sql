-- Rehearsals. A shadow sale is a sale like any other, marked by rehearsal_of; it has no day of its own, tells no shop, and
-- is the only kind of sale that can be removed. Read next: engine/rehearsing.py, domain/rehearsal.py.

-- create_rehearsal_sale says of which sale through the setting, so that the triggers of a new sale see the mark.
alter table flash_sales add column rehearsal_of uuid references flash_sales
    default nullif(current_setting('doorbuster.rehearsal_of', true), '')::uuid;
create index flash_sales_rehearsals on flash_sales (rehearsal_of) where rehearsal_of is not null;

create or replace view sale_view as
select
    s.sale_id, s.product_id, s.title, s.quantity_available, s.price_cents, s.currency,
    ms(s.start_time) as start_ms, ms(s.end_time) as end_ms,
    s.mode, s.payment_mode, s.per_user_limit, s.checkout_ttl_seconds, s.payment_attempts,
    s.status, s.quantity_sold, s.quantity_paid, s.epoch, s.tick_seen, s.image_run_id, s.rebuild_reason,
    s.log_size, s.log_head, ms(s.created_at) as created_ms, ms(s.updated_at) as updated_ms,
    s.standby_limit, s.claim_window_seconds, ms(s.entry_opens_at) as entry_opens_ms, s.beacon_round,
    s.number_high, s.granted_mark, s.ended_number, s.draw_size, ms(s.drawn_at) as drawn_ms,
    s.max_lapsed_holds, s.rehearsal_of
from flash_sales s;

create function is_rehearsal(p_sale_id uuid) returns boolean language sql stable
return exists (select from flash_sales s where s.sale_id = p_sale_id and s.rehearsal_of is not null);

-- What only grows still only grows (I13, I15, I10), but for what was a rehearsal from its first row on.
create trigger flash_sales_rehearsal_mark before update of rehearsal_of on flash_sales
    for each row when (new.rehearsal_of is distinct from old.rehearsal_of)
    execute function refuse_change('a sale is a rehearsal from the first, or never');
drop trigger flash_sales_kept on flash_sales;
create trigger flash_sales_kept before truncate on flash_sales
    execute function refuse_change('orders and the log refer to it');
create trigger flash_sales_not_deleted before delete on flash_sales
    for each row when (old.rehearsal_of is null)
    execute function refuse_change('orders and the log refer to it');
drop trigger sale_log_append_only on sale_log;
create trigger sale_log_append_only before update on sale_log
    for each row execute function refuse_change('the log only grows (I15)');
create trigger sale_log_not_deleted before delete on sale_log
    for each row when (not is_rehearsal(old.sale_id))
    execute function refuse_change('the log only grows (I15)');
drop trigger sale_draws_kept on sale_draws;
create trigger sale_draws_kept before truncate on sale_draws
    execute function refuse_change('a draw can be checked for ever');
create trigger sale_draws_not_deleted before delete on sale_draws
    for each row when (not is_rehearsal(old.sale_id))
    execute function refuse_change('a draw can be checked for ever');

-- No day, and no shop that hears of it.
drop trigger flash_sales_planned on flash_sales;
create trigger flash_sales_planned after insert on flash_sales
    for each row when (new.rehearsal_of is null)
    execute function plan_sale();
drop trigger flash_sales_told on flash_sales;
create trigger flash_sales_told after update on flash_sales
    for each row when (
        new.rehearsal_of is null
        and (
            new.status <> old.status
            or new.status = 'SOLD_OUT' and new.quantity_paid = new.quantity_available
            and new.quantity_paid <> old.quantity_paid
        )
    )
    execute function tell_of_sale();

create or replace function append_log(
    p_sale flash_sales, p_kind text, p_order_ids uuid[], p_quantities integer[], p_epoch bigint, p_at timestamptz,
    out head bytea, out size bigint
) language plpgsql as $$
declare
    v_sale text := p_sale.sale_id::text;
    v_tail text := '|' || p_epoch || '|' || ms(p_at);
begin
    head := p_sale.log_head;
    size := p_sale.log_size + cardinality(p_order_ids);
    with appended as (
        insert into sale_log (sale_id, seq, kind, order_id, quantity, epoch, at_ms, hash)
        select
            p_sale.sale_id, p_sale.log_size + n, p_kind, order_id, quantity, p_epoch, ms(p_at),
            chain(
                p_sale.log_head,
                v_sale || '|' || p_sale.log_size + n || '|' || p_kind || '|' || coalesce(order_id::text, '') || '|'
                || quantity || v_tail
            ) over (order by n rows unbounded preceding)
        from unnest(p_order_ids, p_quantities) with ordinality as t (order_id, quantity, n)
        order by n
        returning seq, hash
    )
    select hash into head from appended where seq = size;
    head := coalesce(head, p_sale.log_head);
    if p_sale.rehearsal_of is null and p_kind in ('reserved', 'paid', 'cancelled', 'expired', 'refunded')
        and exists (select from webhook_endpoints e where wants_event(e, 'order.' || p_kind)) then
        perform tell_of_orders('order.' || p_kind, p_order_ids, p_at);
    end if;
end
$$;

alter table gate_beats add column busy real not null default 0;

create table rehearsals (
    rehearsal_id uuid primary key,
    sale_id uuid not null references flash_sales,
    state text not null default 'asked' check (state in ('asked', 'running', 'done', 'stopped')),
    wish jsonb not null,
    asked_by text not null,
    reason text not null,
    asked_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    lease uuid,
    lease_until timestamptz,
    -- the sale that stands for it while it runs; its rows are gone afterwards
    shadow_sale_id uuid,
    -- signs the tokens of the crowd; worth nothing once it is over
    crowd_secret bytea not null,
    unwanted boolean not null default false,
    words text not null default '',
    progress jsonb not null default '{}',
    sheet jsonb
);
-- One at a time, of whatever sale: two would measure each other.
create unique index rehearsals_one on rehearsals ((true)) where state in ('asked', 'running');
create index rehearsals_of_sale on rehearsals (sale_id, asked_at);

create view rehearsal_view as
select
    r.rehearsal_id, r.sale_id, r.state, r.wish, r.asked_by, r.reason, ms(r.asked_at) as asked_ms,
    ms(r.started_at) as started_ms, ms(r.finished_at) as finished_ms, r.shadow_sale_id, r.words, r.progress, r.sheet
from rehearsals r;

-- 'ok', or why not. Real sales that are on, or begin within p_clear_ms, are in the way unless it is forced.
create function ask_rehearsal(
    p_rehearsal_id uuid, p_sale_id uuid, p_wish jsonb, p_forced boolean, p_clear_ms bigint, p_by text, p_reason text,
    out word text, out detail text
) language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
    v_sale flash_sales;
    v_other flash_sales;
begin
    word := 'conflict';
    select * into v_sale from flash_sales where sale_id = p_sale_id;
    if not found then
        word := 'not-found';
        return;
    end if;
    if v_sale.rehearsal_of is not null then
        detail := 'this is a rehearsal itself';
        return;
    end if;
    if v_sale.status in ('ENDED', 'CANCELLED') or v_sale.end_time <= v_now then
        detail := 'the sale is over; there is nothing to rehearse';
        return;
    end if;
    select * into v_other from flash_sales s
    where s.status not in ('ENDED', 'CANCELLED') and s.rehearsal_of is null and s.end_time > v_now
        and s.start_time <= v_now + p_clear_ms * interval '1 millisecond'
    order by s.start_time
    limit 1;
    if found and not p_forced then
        detail := format(
            'sale %s is on or begins within minutes, and its buyers would share the machines with the rehearsal; force it if they may',
            v_other.sale_id
        );
        return;
    end if;
    insert into rehearsals (rehearsal_id, sale_id, wish, asked_by, reason, asked_at, crowd_secret)
    values (p_rehearsal_id, p_sale_id, p_wish, p_by, p_reason, v_now, secret_bytes())
    on conflict do nothing;
    if not found and not exists (select from rehearsals where rehearsal_id = p_rehearsal_id) then
        detail := 'a rehearsal is under way; two at once would measure each other';
        return;
    end if;
    perform note_action(p_sale_id, 'rehearse', p_by, p_reason, p_wish);
    word := 'ok';
end
$$;

-- What was asked for; or one whose worker is gone, to be cleared away.
create function claim_rehearsal(p_lease uuid, p_lease_ms bigint)
returns table (rehearsal_id uuid, crashed boolean, secret bytea) language plpgsql as $$
declare
    v_now timestamptz := clock_ms();
begin
    return query
    with mine as (
        select r.rehearsal_id, r.state = 'running' as crashed
        from rehearsals r
        where r.state = 'asked' or r.state = 'running' and r.lease_until < v_now
        limit 1
        for no key update skip locked
    )
    update rehearsals r set
        state = 'running', lease = p_lease, lease_until = v_now + p_lease_ms * interval '1 millisecond',
        started_at = coalesce(r.started_at, v_now)
    from mine
    where r.rehearsal_id = mine.rehearsal_id
    returning r.rehearsal_id, mine.crashed, r.crowd_secret;
end
$$;

-- The shadow sale of a rehearsal, with the block list of its sale. Nothing if the lease is not the caller's any more.
create function create_rehearsal_sale(
    p_rehearsal_id uuid, p_lease uuid, p_shadow_id uuid, p_terms jsonb, p_by text, p_reason text
) returns setof sale_view language plpgsql as $$
declare
    v_of uuid;
begin
    update rehearsals set shadow_sale_id = p_shadow_id
    where rehearsal_id = p_rehearsal_id and lease = p_lease and state = 'running'
        and coalesce(shadow_sale_id, p_shadow_id) = p_shadow_id
    returning sale_id into v_of;
    if not found then
        return;
    end if;
    perform set_config('doorbuster.rehearsal_of', v_of::text, true);
    perform create_sale(p_shadow_id, p_terms, p_by, p_reason, null);
    perform set_config('doorbuster.rehearsal_of', '', true);
    insert into sale_blocklist (sale_id, user_id, blocked_at, blocked_by, reason)
    select p_shadow_id, b.user_id, b.blocked_at, b.blocked_by, b.reason from sale_blocklist b where b.sale_id = v_of;
    return query select * from sale_view s where s.sale_id = p_shadow_id;
end
$$;

-- All rows of a sale that is a rehearsal. A new table that has rows of sales has to be named here; a test looks.
create function remove_rehearsal_sale(p_sale_id uuid) returns boolean language plpgsql as $$
declare
    v_sale flash_sales;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for update;
    if not found then
        return false;
    end if;
    if v_sale.rehearsal_of is null then
        raise exception 'sale % is no rehearsal and stays', p_sale_id using errcode = '23514';
    end if;
    delete from payment_reports where sale_id = p_sale_id;
    delete from payment_breaks where sale_id = p_sale_id;
    delete from reconciliations where sale_id = p_sale_id;
    delete from payments where sale_id = p_sale_id;
    delete from user_sale_eligibility where sale_id = p_sale_id;
    delete from sale_releases where sale_id = p_sale_id;
    delete from sale_orders where sale_id = p_sale_id;
    delete from sale_line_left where sale_id = p_sale_id;
    delete from sale_pulse where sale_id = p_sale_id;
    delete from sale_entries where sale_id = p_sale_id;
    delete from sale_draws where sale_id = p_sale_id;
    delete from sale_blocklist where sale_id = p_sale_id;
    delete from sale_audits where sale_id = p_sale_id;
    delete from sale_actions where sale_id = p_sale_id;
    delete from notices where sale_id = p_sale_id;
    delete from waitlist where sale_id = p_sale_id;
    delete from waitlist_counts where sale_id = p_sale_id;
    delete from sale_alerts where sale_id = p_sale_id;
    delete from sale_samples where sale_id = p_sale_id;
    delete from sample_marks where sale_id = p_sale_id;
    delete from sale_reports where sale_id = p_sale_id;
    delete from sale_steps where sale_id = p_sale_id;
    delete from sale_plans where sale_id = p_sale_id;
    delete from sale_log where sale_id = p_sale_id;
    delete from flash_sales where sale_id = p_sale_id;
    return true;
end
$$;
