import json
from tests.api.conftest import NOW
async def test_probe(api):
    c=api.client
    async def show(r):
        r=await r
        print(r.request.method, r.request.url, r.status_code, dict(r.headers), r.text[:1500]); print()
    m={"metric":"cpu","resource_id":"vm-1","timestamp":api.now[0],"value":90}
    await show(c.post("/v1/measures",json=[m,{"metric":1},{**m,"value":float("1")}]))
    await show(c.get("/v1/alarms"))
    await show(c.get("/v1/alarms/shop/slow"))
    await show(c.get("/v1/alarms/shop%2Fslow/history"))
    await show(c.get("/v1/alarms/busy/history"))
    await show(c.get("/v1/groups"))
    await show(c.get("/v1/groups/web/decisions?x=1"))
    await show(c.get("/v1/groups/web/decisions"))
    await show(c.post("/v1/groups/web/pause", json={"for":"2h","reason":"x","direction":"in"}))
    await show(c.post("/v1/groups/web/pause", json={"for":"2x"}))
    await show(c.post("/v1/groups/web/pause", json={"for":"2h","seconds":3}))
    await show(c.post("/v1/groups/web/pause", content=b"{"))
    await show(c.post("/v1/groups/web/pause", content=b"{",headers={"content-type":"application/json"}))
    await show(c.post("/v1/groups/web/resume"))
    await show(c.post("/v1/freeze"))
    await show(c.post("/v1/policies/out/execute"))
    await show(c.post("/v1/unfreeze"))
    await show(c.get("/v1/policies"))
    await show(c.get("/v1/status"))
    await show(c.get("/readyz"))
    await show(c.get("/healthz?x=1"))
    await show(c.get("/nix"))
    await show(c.put("/v1/groups"))
    await show(c.get("/v1/dead-letters"))
    await show(c.get("/v1/groups/nope"))
    r=await c.get("/metrics"); print(r.text, r.headers)
    r=await c.get("/openapi.json"); print(list(r.json()["paths"]))
