// What controllers in JavaScript do, by the official client: each step is one line of the output.
import * as k8s from '@kubernetes/client-node';
const kc = new k8s.KubeConfig(); kc.loadFromDefault();
const core = kc.makeApiClient(k8s.CoreV1Api), apps = kc.makeApiClient(k8s.AppsV1Api), obj = k8s.KubernetesObjectApi.makeApiClient(kc);
let bad = 0; const ns = 'javascript';
const step = async (name, f) => { try { console.log('ok  ', name + ':', await f()); } catch (e) { bad++; console.log('FAIL', name + ':', e.stack ?? e, e.body ?? ''); } };
const must = (b, w) => { if (!b) throw new Error(JSON.stringify(w)); };
const soon = async (f, w) => { for (let i = 0; i < 300; i++) { const v = await f(); if (v) return v; await new Promise(r => setTimeout(r, 100)); } throw new Error('not soon: ' + w); };
await step('version', async () => (await kc.makeApiClient(k8s.VersionApi).getCode()).gitVersion);
await step('namespace', async () => (await core.createNamespace({ body: { metadata: { name: ns } } })).metadata.uid);
await step('watch', async () => {
  const got = [], watch = new k8s.Watch(kc); let done;
  const ended = new Promise(r => done = r);
  const ac = await watch.watch(`/api/v1/namespaces/${ns}/configmaps`, { allowWatchBookmarks: true }, (t, o) => got.push(t + ' ' + o.metadata.name), e => done(e));
  await core.createNamespacedConfigMap({ namespace: ns, body: { metadata: { name: 'one' }, data: { a: 'b' } } });
  await core.patchNamespacedConfigMap({ namespace: ns, name: 'one', body: { data: { c: 'd' } } }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
  await core.deleteNamespacedConfigMap({ namespace: ns, name: 'one' });
  await soon(() => got.includes('DELETED one'), got);
  ac.abort(); await ended;
  return got.filter(x => !x.includes('kube-root')).join(', ');
});
await step('informer', async () => {
  const list = () => core.listNamespacedSecret({ namespace: ns }); const got = [];
  const inf = k8s.makeInformer(kc, `/api/v1/namespaces/${ns}/secrets`, list);
  inf.on('add', o => got.push(o.metadata.name)); inf.on('error', e => got.push('error ' + e));
  await inf.start();
  await core.createNamespacedSecret({ namespace: ns, body: { metadata: { name: 's' }, stringData: { k: 'v' } } });
  await soon(() => got.includes('s'), got); await inf.stop();
  return got.join();
});
await step('apply, scale', async () => {
  const d = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: ns }, spec: { replicas: 1, selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i:1' }] } } } };
  await obj.patch(d, undefined, undefined, 'me', true, k8s.PatchStrategy.ServerSideApply);
  await obj.patch({ ...d, spec: { ...d.spec, replicas: 2 } }, undefined, undefined, 'me', true, k8s.PatchStrategy.ServerSideApply);
  await soon(async () => {
    const s = await apps.readNamespacedDeploymentScale({ name: 'web', namespace: ns });
    s.spec.replicas = 3;
    try { return await apps.replaceNamespacedDeploymentScale({ name: 'web', namespace: ns, body: s }); } catch (e) { must(e.code === 409, e); }
  }, 'scaled');
  await soon(async () => (await core.listNamespacedPod({ namespace: ns, labelSelector: 'a=b' })).items.length === 3, 'pods');
  return (await obj.read(d)).spec.replicas;
});
await step('errors', async () => {
  try { await core.readNamespacedPod({ namespace: ns, name: 'none' }); } catch (e) { must(e.code === 404, e); return JSON.parse(e.body).reason; }
});
await step('top', async () => (await new k8s.Metrics(kc).getNodeMetrics()).kind);
await step('custom resources', async () => {
  const ext = kc.makeApiClient(k8s.ApiextensionsV1Api), co = kc.makeApiClient(k8s.CustomObjectsApi);
  await ext.createCustomResourceDefinition({ body: { metadata: { name: 'jsthings.judge.example' }, spec: { group: 'judge.example', names: { kind: 'JsThing', plural: 'jsthings' }, scope: 'Namespaced', versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { n: { type: 'integer' } } } } } } }] } } });
  await soon(async () => (await ext.readCustomResourceDefinition({ name: 'jsthings.judge.example' })).status?.conditions?.some(c => c.type === 'Established' && c.status === 'True'), 'established');
  await co.createNamespacedCustomObject({ group: 'judge.example', version: 'v1', namespace: ns, plural: 'jsthings', body: { apiVersion: 'judge.example/v1', kind: 'JsThing', metadata: { name: 't' }, spec: { n: 1 } } });
  const l = await co.listNamespacedCustomObject({ group: 'judge.example', version: 'v1', namespace: ns, plural: 'jsthings' });
  await ext.deleteCustomResourceDefinition({ name: 'jsthings.judge.example' });
  return l.items[0].spec.n;
});
await step('namespace goes', async () => { await core.deleteNamespace({ name: ns }); await soon(async () => !(await core.listNamespace()).items.some(n => n.metadata.name === ns), 'gone'); return 'gone'; });
console.log(bad ? bad + ' steps failed' : 'all well'); process.exit(bad ? 1 : 0);
