# This node's daemons, as in node-a.
services {
  name  = "heddle-agent"
  port  = 8500
  tags  = ["metrics"]
  meta  = { metrics_port = "9400" }
  check = { http = "http://127.0.0.1:9400/readyz", interval = "5s" }
}
services {
  name  = "heddle-health"
  port  = 8320
  tags  = ["metrics"]
  meta  = { metrics_port = "9320" }
  check = { http = "http://127.0.0.1:9320/readyz", interval = "5s" }
}
