import io.fabric8.kubernetes.api.model.*;
import io.fabric8.kubernetes.api.model.apps.*;
import io.fabric8.kubernetes.client.*;
import io.fabric8.kubernetes.client.dsl.base.*;
import io.fabric8.kubernetes.client.dsl.Resource;
import io.fabric8.kubernetes.client.extended.leaderelection.*;
import io.fabric8.kubernetes.client.extended.leaderelection.resourcelock.*;
import io.fabric8.kubernetes.client.informers.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;

// What operators in Java do, by fabric8's client: each step is one line of the output.
public class Judge {
  static int bad = 0;
  interface Step { Object run() throws Exception; }
  static void step(String name, Step s) {
    try {
      Object o = s.run();
      System.out.println("ok   " + name + ": " + o);
    } catch (Throwable t) {
      bad++;
      System.out.println("FAIL " + name + ": " + t);
      t.printStackTrace(System.out);
    }
  }
  static void must(boolean b, Object what) { if (!b) throw new AssertionError(String.valueOf(what)); }

  public static void main(String[] args) throws Exception {
    final String ns = "java";
    try (KubernetesClient c = new KubernetesClientBuilder().build()) {
      step("version", () -> c.getKubernetesVersion().getGitVersion());
      step("namespace", () -> c.namespaces().resource(new NamespaceBuilder().withNewMetadata().withName(ns).endMetadata().build()).serverSideApply().getMetadata().getUid());
      step("supports", () -> { must(c.supports("apps/v1", "Deployment"), "apps/v1"); must(!c.supports("no/v1", "None"), "no"); return true; });
      step("watch", () -> {
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        CountDownLatch closed = new CountDownLatch(1);
        Watch w = c.configMaps().inNamespace(ns).watch(new Watcher<ConfigMap>() {
          public void eventReceived(Action a, ConfigMap m) { events.add(a + " " + m.getMetadata().getName()); }
          public void onClose(WatcherException e) { events.add("closed by " + e); }
          public void onClose() { closed.countDown(); }
        });
        ConfigMap m = new ConfigMapBuilder().withNewMetadata().withName("one").withNamespace(ns).endMetadata().addToData("a", "b").build();
        c.resource(m).create();
        c.configMaps().inNamespace(ns).withName("one").edit(x -> new ConfigMapBuilder(x).addToData("c", "d").build());
        c.configMaps().inNamespace(ns).withName("one").delete();
        List<String> got = new ArrayList<>();
        while (!got.contains("DELETED one")) { String e = events.poll(20, TimeUnit.SECONDS); must(e != null, "no event after " + got); got.add(e); }
        w.close();
        must(closed.await(10, TimeUnit.SECONDS), "onClose");
        got.removeIf(s -> s.contains("kube-root-ca"));
        must(got.equals(List.of("ADDED one", "MODIFIED one", "DELETED one")), got);
        return got;
      });
      step("a watch from a revision that is gone", () -> {
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        Watch w = c.configMaps().inNamespace(ns).watch(new ListOptionsBuilder().withResourceVersion("1").build(), new Watcher<ConfigMap>() {
          public void eventReceived(Action a, ConfigMap m) { events.add(a + " " + m.getMetadata().getName()); }
          public void onClose(WatcherException e) { events.add("gone " + e.isHttpGone()); }
        });
        String e = events.poll(20, TimeUnit.SECONDS);
        w.close();
        return e;
      });
      step("informer of all namespaces", () -> {
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        SharedIndexInformer<Secret> i = c.secrets().inAnyNamespace().inform(new ResourceEventHandler<Secret>() {
          public void onAdd(Secret s) { events.add("add " + s.getMetadata().getName()); }
          public void onUpdate(Secret a, Secret b) { events.add("update " + b.getMetadata().getName()); }
          public void onDelete(Secret s, boolean u) { events.add("delete " + s.getMetadata().getName()); }
        }, 0);
        must(i.hasSynced(), "synced"); must(i.isWatching(), "watching");
        c.secrets().inNamespace(ns).resource(new SecretBuilder().withNewMetadata().withName("s").endMetadata().addToStringData("k", "v").build()).create();
        for (String e = ""; !e.equals("add s"); ) { e = events.poll(20, TimeUnit.SECONDS); must(e != null, "no add"); }
        must("v".equals(new String(Base64.getDecoder().decode(i.getStore().getByKey(ns + "/s").getData().get("k")))), "data");
        i.stop();
        return "added";
      });
      step("deployment: apply, patch, scale, status", () -> {
        Deployment d = new DeploymentBuilder().withNewMetadata().withName("web").withNamespace(ns).endMetadata().withNewSpec().withReplicas(1)
            .withNewSelector().addToMatchLabels("a", "web").endSelector().withNewTemplate().withNewMetadata().addToLabels("a", "web").endMetadata()
            .withNewSpec().addNewContainer().withName("c").withImage("img:1").endContainer().endSpec().endTemplate().endSpec().build();
        c.resource(d).serverSideApply();
        c.apps().deployments().inNamespace(ns).withName("web").patch(PatchContext.of(PatchType.JSON_MERGE), "{\"metadata\":{\"labels\":{\"x\":\"y\"}}}");
        c.apps().deployments().inNamespace(ns).withName("web").patch(PatchContext.of(PatchType.STRATEGIC_MERGE), "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"img:2\"}]}}}}");
        c.apps().deployments().inNamespace(ns).withName("web").patch(PatchContext.of(PatchType.JSON), "[{\"op\":\"add\",\"path\":\"/metadata/annotations/q\",\"value\":\"1\"}]");
        c.apps().deployments().inNamespace(ns).withName("web").scale(2);
        Deployment now = c.apps().deployments().inNamespace(ns).withName("web").waitUntilCondition(x -> x.getStatus() != null && Objects.equals(x.getStatus().getObservedGeneration(), x.getMetadata().getGeneration()) && x.getSpec().getReplicas() == 2, 30, TimeUnit.SECONDS);
        must(now.getSpec().getTemplate().getSpec().getContainers().get(0).getImage().equals("img:2"), now);
        c.apps().deployments().inNamespace(ns).withName("web").rolling().restart();

        return c.pods().inNamespace(ns).withLabel("a", "web").list().getItems().size() + " pods";
      });
      step("pages, selectors", () -> {
        for (int n = 0; n < 7; n++) c.configMaps().inNamespace(ns).resource(new ConfigMapBuilder().withNewMetadata().withName("p" + n).addToLabels("p", "" + n % 2).endMetadata().build()).create();
        int all = 0; String next = "";
        do { ConfigMapList l = c.configMaps().inNamespace(ns).withLabel("p").list(new ListOptionsBuilder().withLimit(3L).withContinue(next).build()); all += l.getItems().size(); next = l.getMetadata().getContinue(); } while (next != null && !next.isEmpty());
        must(all == 7, all);
        must(c.configMaps().inNamespace(ns).withLabelIn("p", "0").list().getItems().size() == 4, "in");
        must(c.configMaps().inNamespace(ns).withField("metadata.name", "p3").list().getItems().size() == 1, "field");
        c.configMaps().inNamespace(ns).withLabel("p").withGracePeriod(0).delete();
        must(c.configMaps().inNamespace(ns).withLabel("p").list().getItems().isEmpty(), "deleted");
        return all;
      });
      step("custom resources without a model", () -> {
        c.load(new java.io.ByteArrayInputStream(("""
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {name: things.judge.example}
            spec:
              group: judge.example
              names: {kind: Thing, plural: things}
              scope: Namespaced
              versions:
              - {name: v1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {n: {type: integer}}}, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}
            """).getBytes())).serverSideApply();
        c.apiextensions().v1().customResourceDefinitions().withName("things.judge.example").waitUntilCondition(d -> d.getStatus() != null && d.getStatus().getConditions().stream().anyMatch(x -> x.getType().equals("Established") && x.getStatus().equals("True")), 20, TimeUnit.SECONDS);
        ResourceDefinitionContext k = new ResourceDefinitionContext.Builder().withGroup("judge.example").withVersion("v1").withKind("Thing").withPlural("things").withNamespaced(true).build();
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        SharedIndexInformer<GenericKubernetesResource> i = c.genericKubernetesResources(k).inNamespace(ns).inform(new ResourceEventHandler<GenericKubernetesResource>() {
          public void onAdd(GenericKubernetesResource s) { events.add("add " + s.get("spec", "n")); }
          public void onUpdate(GenericKubernetesResource a, GenericKubernetesResource b) { events.add("update " + b.get("status", "m")); }
          public void onDelete(GenericKubernetesResource s, boolean u) { events.add("delete"); }
        });
        GenericKubernetesResource g = new GenericKubernetesResourceBuilder().withApiVersion("judge.example/v1").withKind("Thing").withNewMetadata().withName("t").endMetadata().addToAdditionalProperties("spec", Map.of("n", 1)).build();
        g = c.genericKubernetesResources(k).inNamespace(ns).resource(g).create();
        must("add 1".equals(events.poll(20, TimeUnit.SECONDS)), "add");
        g.setAdditionalProperty("status", Map.of("m", 2));
        c.genericKubernetesResources(k).inNamespace(ns).resource(g).updateStatus();
        must("update 2".equals(events.poll(20, TimeUnit.SECONDS)), "update");
        c.genericKubernetesResources(k).inNamespace(ns).withName("t").delete();
        must("delete".equals(events.poll(20, TimeUnit.SECONDS)), "delete");
        i.stop();
        return "add, update, delete";
      });
      step("refusals", () -> {
        try { c.configMaps().inNamespace(ns).resource(new ConfigMapBuilder().withNewMetadata().withName("Bad_Name").endMetadata().build()).create(); must(false, "created"); }
        catch (KubernetesClientException e) { must(e.getCode() == 422 && e.getStatus().getDetails().getCauses().size() == 1, e); }
        ConfigMap m = c.configMaps().inNamespace(ns).resource(new ConfigMapBuilder().withNewMetadata().withName("v").endMetadata().build()).create();
        c.configMaps().inNamespace(ns).withName("v").edit(x -> new ConfigMapBuilder(x).addToData("c", "d").build());
        m.setData(Map.of("x", "y"));
        try { c.resource(m).lockResourceVersion(m.getMetadata().getResourceVersion()).update(); must(false, "updated"); }
        catch (KubernetesClientException e) { must(e.getCode() == 409, e); }
        return "422, 409";
      });
      step("token, review", () -> {
        c.serviceAccounts().inNamespace(ns).resource(new ServiceAccountBuilder().withNewMetadata().withName("sa").endMetadata().build()).create();
        String t = c.serviceAccounts().inNamespace(ns).withName("sa").tokenRequest().getStatus().getToken();
        must(t.split("\\.").length == 3, t);
        io.fabric8.kubernetes.client.Config f = new io.fabric8.kubernetes.client.ConfigBuilder(io.fabric8.kubernetes.client.Config.empty()).withMasterUrl(c.getConfiguration().getMasterUrl()).withCaCertData(c.getConfiguration().getCaCertData()).withOauthToken(t).build();
        try (KubernetesClient as = new KubernetesClientBuilder().withConfig(f).build()) {
          try { as.secrets().inNamespace(ns).list(); must(false, "listed"); } catch (KubernetesClientException e) { must(e.getCode() == 403, e); }
        }
        return "403";
      });
      step("leader election", () -> {
        CountDownLatch leading = new CountDownLatch(1), stopped = new CountDownLatch(1);
        LeaderElector e = c.leaderElector().withConfig(new LeaderElectionConfigBuilder().withName("l").withLeaseDuration(Duration.ofSeconds(15)).withRenewDeadline(Duration.ofSeconds(10)).withRetryPeriod(Duration.ofSeconds(2)).withReleaseOnCancel()
            .withLock(new LeaseLock(ns, "l", "me")).withLeaderCallbacks(new LeaderCallbacks(leading::countDown, stopped::countDown, x -> {})).build()).build();
        CompletableFuture<?> f = e.start();
        must(leading.await(20, TimeUnit.SECONDS), "leading");
        f.cancel(true);
        must(stopped.await(20, TimeUnit.SECONDS), "stopped");
        return "led";
      });
      step("namespace goes", () -> {
        c.namespaces().withName(ns).delete();
        c.namespaces().withName(ns).waitUntilCondition(Objects::isNull, 60, TimeUnit.SECONDS);
        return "gone";
      });
    }
    System.out.println(bad == 0 ? "all well" : bad + " steps failed");
    System.exit(bad == 0 ? 0 : 1);
  }
}
