package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	watchtools "k8s.io/client-go/tools/watch"
)

// Counts requests, and can cut all connections.
type network struct {
	lists, streamedLists, watches atomic.Int64
	mutex                         sync.Mutex
	open                          []net.Conn
}

func (n *network) through(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.Dial = func(ctx context.Context, kind, address string) (net.Conn, error) {
		one, err := (&net.Dialer{}).DialContext(ctx, kind, address)
		if err == nil {
			n.mutex.Lock()
			n.open = append(n.open, one)
			n.mutex.Unlock()
		}
		return one, err
	}
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			q := r.URL.Query()
			switch {
			case r.Method != "GET":
			case q.Get("sendInitialEvents") == "true":
				n.streamedLists.Add(1)
			case q.Get("watch") != "":
				n.watches.Add(1)
			default:
				n.lists.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	return c
}

func (n *network) cut() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, one := range n.open {
		one.Close()
	}
	n.open = nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An informer sees what is there, what changes, and what went while its connections were cut.
func followed(w *world, n *network) {
	client := get(coreclient.NewForConfig(n.through(w.config)))
	for i := range 20 {
		w.create(w.configMap(fmt.Sprintf("old-%d", i), "1"))
	}
	var added, updated, deleted atomic.Int64
	source := cache.NewFilteredListWatchFromClient(client.RESTClient(), "configmaps", w.ns,
		func(o *metav1.ListOptions) { o.LabelSelector = "of=" + w.ns })
	shared := cache.NewSharedIndexInformer(source, &corev1.ConfigMap{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	get(shared.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { added.Add(1) },
		UpdateFunc: func(any, any) { updated.Add(1) },
		DeleteFunc: func(any) { deleted.Add(1) },
	}))
	ctx, stop := context.WithTimeout(w.ctx, 4*patience)
	defer stop()
	go shared.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), shared.HasSynced) {
		fail("the informer doesn't synchronise")
	}
	want("objects", len(shared.GetStore().ListKeys()), 20)
	o := w.create(w.configMap("new", "1"))
	o.Data["k"] = "2"
	get(w.core.ConfigMaps(w.ns).Update(w.ctx, o, metav1.UpdateOptions{}))
	must(w.core.ConfigMaps(w.ns).Delete(w.ctx, "old-0", metav1.DeleteOptions{}))
	eventually(ctx, "the changes come", func() bool { return added.Load() >= 21 && updated.Load() >= 1 && deleted.Load() >= 1 })
	for i := range 5 {
		n.cut()
		name := fmt.Sprintf("cut-%d", i)
		w.create(w.configMap(name, "1"))
		eventually(ctx, name+" comes after a cut", func() bool {
			_, there, _ := shared.GetStore().GetByKey(w.ns + "/" + name)
			return there
		})
	}
	want("objects", len(get(shared.GetIndexer().IndexKeys(cache.NamespaceIndex, w.ns))), 25)
}

func informer(w *world) {
	var n network
	followed(w, &n)
	if n.lists.Load() < 1 || n.watches.Load() < 2 {
		fail("%d lists, %d watches", n.lists.Load(), n.watches.Load())
	}
	want("lists: watches resume where they were", n.lists.Load(), 1)
}

func watchList(w *world) {
	var n network
	followed(w, &n)
	want("lists", n.lists.Load(), 0)
	want("streamed lists", n.streamedLists.Load(), 1)
}

// RetryWatcher goes on from the last event's resource version: each event once, in order, over cuts.
func resumedWatch(w *world) {
	var n network
	client := get(coreclient.NewForConfig(n.through(w.config)))
	start := get(client.ConfigMaps(w.ns).List(w.ctx, metav1.ListOptions{})).ResourceVersion
	source := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = "metadata.name=w"
		return client.ConfigMaps(w.ns).Watch(ctx, o)
	}}
	watcher := get(watchtools.NewRetryWatcherWithContext(w.ctx, start, source))
	const all = 60
	go func() {
		o := w.create(w.configMap("w", "0"))
		for i := 1; i < all; i++ {
			o.Data["k"] = fmt.Sprint(i)
			o = get(w.core.ConfigMaps(w.ns).Update(w.ctx, o, metav1.UpdateOptions{}))
			if i%20 == 0 {
				n.cut()
			}
		}
	}()
	for i := range all {
		select {
		case e := <-watcher.ResultChan():
			o, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				fail("event %d: %v", i, e)
			}
			want("event", o.Data["k"], i)
		case <-time.After(patience):
			fail("event %d doesn't come", i)
		}
	}
	watcher.Stop()
}

// Two candidates: one leads; when it lets go the other one does.
func leaderElection(w *world) {
	type candidate struct {
		stop    context.CancelFunc
		leading chan struct{}
		ended   chan struct{}
	}
	start := func(name string) *candidate {
		ctx, cancel := context.WithCancel(w.ctx)
		c := &candidate{stop: cancel, leading: make(chan struct{}), ended: make(chan struct{})}
		lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "lock", Namespace: w.ns}, Client: w.leases, LockConfig: resourcelock.ResourceLockConfig{Identity: name}}
		elector := get(leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{Lock: lock, ReleaseOnCancel: true,
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(c.leading) }, OnStoppedLeading: func() {}}}))
		go func() {
			elector.Run(ctx)
			close(c.ended)
		}()
		return c
	}
	await := func(what string, c <-chan struct{}) {
		select {
		case <-c:
		case <-time.After(patience):
			fail("not within %v: %s", patience, what)
		}
	}
	first := start("first")
	await("the first leads", first.leading)
	second := start("second")
	lease := get(w.leases.Leases(w.ns).Get(w.ctx, "lock", metav1.GetOptions{}))
	want("holder", *lease.Spec.HolderIdentity, "first")
	eventually(w.ctx, "the lease is renewed", func() bool {
		now := get(w.leases.Leases(w.ns).Get(w.ctx, "lock", metav1.GetOptions{}))
		return now.Spec.RenewTime.After(lease.Spec.RenewTime.Time)
	})
	first.stop()
	await("the first ends", first.ended)
	await("the second leads", second.leading)
	eventually(w.ctx, "the lease tells of one transition", func() bool {
		now := get(w.leases.Leases(w.ns).Get(w.ctx, "lock", metav1.GetOptions{})).Spec
		return *now.HolderIdentity == "second" && *now.LeaseTransitions >= 1
	})
	second.stop()
	await("the second ends", second.ended)
}

// The recorder creates an event, and counts the same again by patches.
func events(w *world) {
	subject := w.create(w.configMap("subject", "1"))
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&coreclient.EventSinkImpl{Interface: w.core.Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clientgo"})
	for range 3 {
		recorder.Eventf(subject, corev1.EventTypeNormal, "Tested", "it was tested")
	}
	eventually(w.ctx, "one event that happened three times", func() bool {
		list := get(w.core.Events(w.ns).List(w.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=subject,reason=Tested"}))
		return len(list.Items) == 1 && list.Items[0].Count == 3
	})
	found := get(w.core.Events(w.ns).Search(scheme.Scheme, subject))
	want("events of the subject", len(found.Items), 1)
	if !strings.HasPrefix(found.Items[0].Name, "subject.") {
		fail("name %s", found.Items[0].Name)
	}
	broadcaster.Shutdown()
}
