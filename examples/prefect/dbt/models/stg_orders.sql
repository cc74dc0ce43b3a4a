select id, customer_id, amount, cast(ordered_at as date) as ordered_on
from {{ source('raw', 'orders') }}
