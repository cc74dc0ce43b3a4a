select customers.name, orders.ordered_on, sum(orders.amount) as amount
from {{ ref('stg_orders') }} as orders
join {{ source('raw', 'customers') }} as customers on customers.id = orders.customer_id
group by customers.name, orders.ordered_on
