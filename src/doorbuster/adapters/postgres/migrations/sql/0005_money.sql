-- Money: extended holds, lapsed holds, refunds, reconciliation.
select 1;
