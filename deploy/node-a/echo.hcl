# Listens on loopback alone: the way in is its sidecar.
service {
  name  = "echo"
  port  = 9000
  check = { tcp = "127.0.0.1:9000", interval = "2s" }

  connect {
    sidecar_service {
      port = 21000
      tags = ["metrics"]
      meta = { metrics_port = "9102" }
      checks = [
        { name = "sidecar listens", tcp = "127.0.0.1:21000", interval = "2s" },
        { name = "echo is well", alias_service = "echo" },
      ]
    }
  }
}
