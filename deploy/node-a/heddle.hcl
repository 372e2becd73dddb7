# Heddle's own daemons as services, so that Prometheus finds them: the tag `metrics` makes one a target, `metrics_port` is
# where. Those of this node, and the servers, which have no node of their own.
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
services {
  name    = "heddle-catalog"
  address = "catalog"
  port    = 8300
  tags    = ["metrics"]
  meta    = { metrics_port = "9300" }
  check   = { http = "http://catalog:9300/readyz", interval = "5s" }
}
services {
  name    = "heddle-ca"
  address = "ca"
  port    = 8310
  tags    = ["metrics"]
  meta    = { metrics_port = "9310" }
  check   = { http = "http://ca:9310/readyz", interval = "5s" }
}
services {
  name    = "heddle-dns"
  address = "dns"
  port    = 8600
  tags    = ["metrics"]
  meta    = { metrics_port = "9600" }
  check   = { http = "http://dns:9600/readyz", interval = "5s" }
}
