/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "vn_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_rwlock.h>

#include "vn_intr.h"

#define NO_PORT RTE_MAX_ETHPORTS

/* A callback of net_memif's, in whose place run() is registered. */
struct wrapped {
	struct wrapped *next;
	rte_intr_callback_fn fn;
	rte_intr_unregister_callback_fn then;
	void *arg;
	int fd;
	ino_t inode;   /* of the socket that fd was when it was registered */
	uint16_t port; /* which vn_guard_start() made it for, or NO_PORT */
	bool gone;     /* unregistered; freed when the interrupt thread is done with it */
};

static rte_rwlock_t guard = RTE_RWLOCK_INITIALIZER;
static bool stopped[RTE_MAX_ETHPORTS]; /* written with the guard held for writing */

static struct vn_intr_calls eal;
static struct wrapped *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static bool bound; /* some callback came to us */

static __thread uint16_t starting = NO_PORT;
static __thread struct wrapped *added; /* what this thread registered last */

static ino_t
inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Only net_memif's: other drivers have their own rules of what their callbacks may wait for. */
static bool
is_memif(rte_intr_callback_fn fn)
{
	Dl_info of;

	return dladdr((void *)(uintptr_t)fn, &of) && strstr(of.dli_fname, "librte_net_memif");
}

static struct wrapped *
find(rte_intr_callback_fn fn, void *arg)
{
	struct wrapped *w;

	pthread_mutex_lock(&all_lock);
	for (w = all; w && !(w->fn == fn && w->arg == arg && !w->gone); w = w->next)
		;
	pthread_mutex_unlock(&all_lock);
	return w;
}

static void
forget(struct wrapped *w)
{
	pthread_mutex_lock(&all_lock);
	for (struct wrapped **p = &all; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			break;
		}
	}
	pthread_mutex_unlock(&all_lock);
	free(w);
}

static void run(void *arg);

/* A peer that leaves before the driver has greeted it: the listener closes and frees the channel,
 * and leaves its callback with EAL, which panics when it next polls the closed socket. */
static void
remove_orphan(struct wrapped *w)
{
	struct rte_intr_handle *handle;

	if (w == NULL || inode_of(w->fd) == w->inode)
		return;
	handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (handle == NULL)
		return;
	if (rte_intr_fd_set(handle, w->fd) == 0 && eal.remove(handle, run, w) > 0)
		forget(w);
	rte_intr_instance_free(handle);
}

/* In the interrupt thread. */
static void
run(void *arg)
{
	struct wrapped *w = arg;
	struct pollfd p = {.fd = w->fd, .events = POLLIN};

	/* Called for no event (EAL does if the number of a closed socket is in use again), the
	 * driver would wait for one, and the lcores for us. */
	if (poll(&p, 1, 0) <= 0)
		return;
	rte_rwlock_write_lock(&guard);
	added = NULL;
	if (!w->gone) {
		w->fn(w->arg);
		remove_orphan(added);
	}
	rte_rwlock_write_unlock(&guard);
}

/* With EAL's own lock held. */
static void
after_unregister(struct rte_intr_handle *handle, void *arg)
{
	struct wrapped *w = arg;

	if (w->then)
		w->then(handle, w->arg);
	forget(w);
}

static int
add(const struct rte_intr_handle *handle, rte_intr_callback_fn fn, void *arg)
{
	struct wrapped *w;
	int rc;

	if (!is_memif(fn))
		return eal.add(handle, fn, arg);
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	w->fd = rte_intr_fd_get(handle);
	w->inode = inode_of(w->fd);
	w->port = starting;
	pthread_mutex_lock(&all_lock);
	bound = true;
	w->next = all;
	all = w;
	pthread_mutex_unlock(&all_lock);
	/* From now on it may run, and end, in the interrupt thread. */
	rc = eal.add(handle, run, w);
	if (rc < 0)
		forget(w);
	else
		added = w;
	return rc;
}

static int
remove_now(const struct rte_intr_handle *handle, rte_intr_callback_fn fn, void *arg)
{
	struct wrapped *w = find(fn, arg);
	int rc;

	if (w == NULL)
		return eal.remove(handle, fn, arg);
	rc = eal.remove(handle, run, w);
	if (rc > 0)
		forget(w);
	return rc;
}

static int
remove_pending(const struct rte_intr_handle *handle, rte_intr_callback_fn fn, void *arg,
	       rte_intr_unregister_callback_fn then)
{
	struct wrapped *w = find(fn, arg);
	int rc;

	if (w == NULL)
		return eal.remove_pending(handle, fn, arg, then);
	w->then = then;
	w->gone = true; /* run() may wait for the guard that we hold */
	do {
		rc = eal.remove_pending(handle, run, w, after_unregister);
		if (rc != -EAGAIN)
			break;
		/* Not called any more, after EAL has told the driver that it was. */
		rc = eal.remove(handle, run, w);
		if (rc > 0)
			after_unregister((struct rte_intr_handle *)(uintptr_t)handle, w);
	} while (rc == -EAGAIN);
	return rc;
}

int
vn_guard_install(void)
{
	Dl_info of_eal, self;
	char path[4096];
	void *lib, *front;
	struct vn_intr_calls *calls;
	const char *slash;

	if (!dladdr((void *)(uintptr_t)rte_eal_init, &of_eal) ||
	    !dladdr((void *)(uintptr_t)vn_guard_install, &self))
		return -1;
	slash = strrchr(self.dli_fname, '/');
	snprintf(path, sizeof(path), "%.*slibvnintr.so",
		 slash ? (int)(slash + 1 - self.dli_fname) : 0, self.dli_fname);
	lib = dlopen(of_eal.dli_fname, RTLD_NOW | RTLD_NOLOAD);
	front = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	calls = front ? dlsym(front, "vn_intr_calls") : NULL;
	if (lib == NULL || calls == NULL)
		return -1;
	*(void **)&eal.add = dlsym(lib, "rte_intr_callback_register");
	*(void **)&eal.remove = dlsym(lib, "rte_intr_callback_unregister");
	*(void **)&eal.remove_pending = dlsym(lib, "rte_intr_callback_unregister_pending");
	if (!eal.add || !eal.remove || !eal.remove_pending)
		return -1;
	*calls = (struct vn_intr_calls){add, remove_now, remove_pending};
	return dlopen(path, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) ? 0 : -1;
}

uint16_t
vn_guard_rx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t got;

	rte_rwlock_read_lock(&guard);
	got = stopped[port] ? 0 : rte_eth_rx_burst(port, queue, pkts, n);
	rte_rwlock_read_unlock(&guard);
	return got;
}

uint16_t
vn_guard_tx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t sent;

	if (n == 0) /* net_memif (since 23.03) looks at the first packet of none */
		return 0;
	rte_rwlock_read_lock(&guard);
	sent = stopped[port] ? 0 : rte_eth_tx_burst(port, queue, pkts, n);
	rte_rwlock_read_unlock(&guard);
	return sent;
}

int
vn_guard_start(uint16_t port)
{
	int rc;

	/* Without the guard: connecting may wait for the peer. */
	starting = port;
	rc = rte_eth_dev_start(port);
	starting = NO_PORT;
	if (rc == 0) {
		rte_rwlock_write_lock(&guard);
		stopped[port] = false;
		rte_rwlock_write_unlock(&guard);
	}
	return rc;
}

int
vn_guard_stop(uint16_t port)
{
	int rc;

	rte_rwlock_write_lock(&guard);
	stopped[port] = true;
	rc = rte_eth_dev_stop(port);
	rte_rwlock_write_unlock(&guard);
	return rc;
}

int
vn_guard_channel(uint16_t port)
{
	struct wrapped *w;
	int yes;

	pthread_mutex_lock(&all_lock);
	for (w = all; w && (w->gone || w->port != port); w = w->next)
		;
	yes = w != NULL || !bound;
	pthread_mutex_unlock(&all_lock);
	return yes;
}
