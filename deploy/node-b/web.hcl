# Reaches echo at 127.0.0.1:9191, which is its own sidecar.
service {
  name  = "web"
  port  = 8080
  check = { http = "http://127.0.0.1:8080/", interval = "2s" }

  connect {
    sidecar_service {
      port = 21000
      tags = ["metrics"]
      meta = { metrics_port = "9102" }
      checks = [
        { name = "sidecar listens", tcp = "127.0.0.1:21000", interval = "2s" },
        { name = "web is well", alias_service = "web" },
      ]
      proxy {
        upstreams = [{ destination_name = "echo", local_bind_port = 9191 }]
      }
    }
  }
}
