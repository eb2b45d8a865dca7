"""GET and LIST beside nginx with the same certificate, requests and bytes."""

from .kit import *


def get():
    with pair() as (kedge, nginx, token, _):
        config_maps(kedge, 1)
        path = "/api/v1/namespaces/default/configmaps/item-00000"
        nginx.put("one", kedge.get(path))
        a, b = in_turn(lambda: wrk(kedge.url + path, token)[0], lambda: wrk(nginx.url + "/one", token)[0])
        row("GET of one 1.2 KB ConfigMap, TLS 1.3, 32 connections", f"{a:,.0f}/s", f"nginx {b:,.0f}/s", f"{a / b:.2f} ×", "≥ 0.8 ×")


def list_():
    with pair() as (kedge, nginx, token, _):
        config_maps(kedge, 2000)
        path = "/api/v1/namespaces/default/configmaps"
        nginx.put("all", kedge.get(path))
        a, b = in_turn(lambda: wrk(kedge.url + path, token, 8)[1], lambda: wrk(nginx.url + "/all", token, 8)[1])
        row("LIST of 2,000 ConfigMaps (2.6 MB), TLS 1.3", f"{a / 1e6:,.0f} MB/s", f"nginx {b / 1e6:,.0f} MB/s", f"{a / b:.2f} ×", "≥ 0.7 ×")
