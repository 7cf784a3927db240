/*
 * A program that asks PAM, as sshd, sudo or a display manager does, and compares
 * itself before and after: a module is a guest in somebody else's process.
 *
 *     pam_host [OPTION…] SERVICE USER [USER2]
 *
 * It writes `code N` after each authentication, each message of the conversation
 * as `prompt-on TEXT`, `prompt-off TEXT`, `error TEXT` or `info TEXT`, and
 * `changed WHAT: BEFORE -> AFTER` for each thing that is not as it was. The exit
 * status is 0 unless something changed.
 *
 *     -n N  so many authentications       -w N  so many before that are not compared
 *     -a TEXT  an answer (\\xNN: a byte)   -c HOW  fails, no-array, garbage, no-text, absent
 *     -s  PAM_SILENT                      -e NAME=VALUE  in PAM's environment
 *     -h, -t, -u TEXT  PAM_RHOST, PAM_TTY, PAM_RUSER
 *     -S HOW  SIGCHLD ignored or handled  -r  a thread that reaps whatever ends
 *     -b N  so many threads that allocate -x 012  these descriptors closed
 *     -o  the other entry points too      -N  no PAM_USER
 *     -p  stays at the prompt             -q  messages are not written
 *     -l  a log of its own                -k KIB  in a thread with such a stack
 *
 * With USER2 two threads authenticate at once. With `dlopen` as SERVICE, USER is
 * a module's path, which is loaded and unloaded.
 *
 * libpam's few declarations stand here, since its header is a package of its own.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

struct pam_message { int msg_style; const char *msg; };
struct pam_response { char *resp; int resp_retcode; };
struct pam_conv {
    int (*conv)(int, const struct pam_message **, struct pam_response **, void *);
    void *appdata_ptr;
};
typedef struct pam_handle pam_handle_t;
int pam_start(const char *, const char *, const struct pam_conv *, pam_handle_t **);
int pam_end(pam_handle_t *, int);
int pam_authenticate(pam_handle_t *, int);
int pam_setcred(pam_handle_t *, int);
int pam_acct_mgmt(pam_handle_t *, int);
int pam_open_session(pam_handle_t *, int);
int pam_close_session(pam_handle_t *, int);
int pam_chauthtok(pam_handle_t *, int);
int pam_set_item(pam_handle_t *, int, const void *);
int pam_putenv(pam_handle_t *, const char *);
enum { PAM_SUCCESS = 0, PAM_BUF_ERR = 5, PAM_CONV_ERR = 19 };
enum { PAM_USER = 2, PAM_TTY = 3, PAM_RHOST = 4, PAM_CONV = 5, PAM_RUSER = 8 };
enum { PAM_PROMPT_ECHO_OFF = 1, PAM_PROMPT_ECHO_ON, PAM_ERROR_MSG, PAM_TEXT_INFO };
#define PAM_SILENT 0x8000

/* How the conversation behaves. */
enum manner { ANSWERS, FAILS, NO_ARRAY, GARBAGE, NO_TEXT, ABSENT };

#define MOST 64
static const char *answers[MOST];
static int answer_count;
static enum manner manner = ANSWERS;
static const char *environment[MOST];
static int environment_count;
static const char *rhost, *tty, *ruser;
static int times = 1, flags, busy_threads, whole, no_user, warm_ups, quiet, stays, logs;
static FILE *report;
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int changes, handled, reaped, ending, readable;

static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&report_lock);
    vfprintf(report, format, arguments);
    fputc('\n', report);
    fflush(report);
    pthread_mutex_unlock(&report_lock);
    va_end(arguments);
}

static void die(const char *what)
{
    say("failed %s: %s", what, strerror(errno));
    _exit(2);
}

/* One line, whatever the text. */
static char *escaped(const char *text)
{
    char *out = malloc(strlen(text) * 4 + 1), *at = out;
    for (const unsigned char *one = (const unsigned char *)text; *one; one++) {
        if (*one < ' ' || *one == 0x7f || *one == '\\')
            at += sprintf(at, "\\x%02X", *one);
        else
            *at++ = (char)*one;
    }
    *at = 0;
    return out;
}

/* Where the last answer stands until it is freed, which libc does behind this. */
static atomic_uintptr_t given;
void __libc_free(void *);

void free(void *block)
{
    if (block && atomic_load(&given) == (uintptr_t)block) {
        atomic_store(&given, 0);
        if (*(const volatile char *)block)
            atomic_fetch_add(&readable, 1);
    }
    __libc_free(block);
}

/* A conversation's place in the answers. */
struct person { const char *name; int next; };

static int converse(int count, const struct pam_message **messages,
                    struct pam_response **responses, void *data)
{
    static const char *const styles[] = {"?", "prompt-off", "prompt-on", "error", "info"};
    struct person *person = data;
    struct pam_response *made = calloc((size_t)count, sizeof *made);
    int asked = 0;
    for (int i = 0; i < count; i++) {
        int style = messages[i]->msg_style;
        char *text = escaped(messages[i]->msg ? messages[i]->msg : "(null)");
        if (!quiet)
            say("%s %s", styles[style >= 1 && style <= 4 ? style : 0], text);
        free(text);
        if (style != PAM_PROMPT_ECHO_OFF && style != PAM_PROMPT_ECHO_ON)
            continue;
        asked = 1;
        if (stays)
            pause();
        if (manner == ANSWERS) {
            if (person->next >= answer_count) {
                free(made);
                return PAM_CONV_ERR;
            }
            made[i].resp = strdup(answers[person->next++]);
            atomic_store(&given, (uintptr_t)made[i].resp);
        }
    }
    if (asked && manner == GARBAGE) {
        free(made);
        *responses = (struct pam_response *)1;
        return PAM_CONV_ERR;
    }
    if (asked && (manner == FAILS || manner == NO_ARRAY)) {
        free(made);
        *responses = NULL;
        return manner == FAILS ? PAM_CONV_ERR : PAM_SUCCESS;
    }
    *responses = made;
    return PAM_SUCCESS;
}

/* `\xNN` in an argument is a byte. */
static char *unescaped(const char *text)
{
    char *out = malloc(strlen(text) + 1), *at = out;
    unsigned int byte;
    while (*text) {
        if (sscanf(text, "\\x%2x", &byte) == 1) {
            *at++ = (char)byte;
            text += 4;
        } else {
            *at++ = *text++;
        }
    }
    *at = 0;
    return out;
}

static int authenticate(const char *service, const char *user)
{
    struct person person = {user, 0};
    struct pam_conv conversation = {manner == ABSENT ? NULL : converse, &person};
    pam_handle_t *handle = NULL;
    int code = pam_start(service, no_user ? NULL : user, &conversation, &handle);
    if (code != PAM_SUCCESS) {
        say("pam_start %d", code);
        return code;
    }
    if (rhost)
        pam_set_item(handle, PAM_RHOST, rhost);
    if (tty)
        pam_set_item(handle, PAM_TTY, tty);
    if (ruser)
        pam_set_item(handle, PAM_RUSER, ruser);
    for (int i = 0; i < environment_count; i++)
        pam_putenv(handle, environment[i]);
    code = pam_authenticate(handle, flags);
    if (whole) {
        say("others %d %d %d %d %d", pam_setcred(handle, 2), pam_acct_mgmt(handle, 0),
            pam_open_session(handle, 0), pam_close_session(handle, 0), pam_chauthtok(handle, 0));
    }
    pam_end(handle, code);
    return code;
}

/* What a process is made of, as text: one line for each thing. */
static void portray_descriptors(FILE *out)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        die("/proc/self/fd");
    fprintf(out, "descriptors:");
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[PATH_MAX];
        if (fd == dirfd(folder))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = 0;
        fprintf(out, " %d=%s/%x/%x", fd, target, fcntl(fd, F_GETFD), fcntl(fd, F_GETFL));
    }
    fprintf(out, "\n");
    closedir(folder);
}

static void portray_tasks(FILE *out)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int threads = 0;
    char children[4096] = "";
    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        threads++;
        char path[320];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
        int fd = open(path, O_RDONLY);
        size_t used = strlen(children);
        ssize_t got = fd < 0 ? 0 : read(fd, children + used, sizeof children - used - 1);
        children[used + (size_t)(got > 0 ? got : 0)] = 0;
        if (fd >= 0)
            close(fd);
    }
    if (folder)
        closedir(folder);
    int status;
    pid_t child = waitpid(-1, &status, WNOHANG | __WALL);
    fprintf(out, "threads: %d\nchildren: '%s' waitpid=%d\n", threads, children,
            child < 0 ? -errno : (int)child);
}

static void portray_signals(FILE *out)
{
    fprintf(out, "signals:");
    for (int number = 1; number <= 64; number++) {
        unsigned long action[4] = {0};
        syscall(SYS_rt_sigaction, number, NULL, action, 8);
        fprintf(out, " %lx/%lx/%lx", action[0], action[1], action[3]);
    }
    unsigned long mask = 0, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    syscall(SYS_rt_sigpending, &pending, 8);
    stack_t stack;
    sigaltstack(NULL, &stack);
    fprintf(out, "\nmask: %lx\npending: %lx\naltstack: %p %x\n", mask, pending, stack.ss_sp,
            stack.ss_flags);
}

extern char **environ;

static void portray_status(FILE *out)
{
    static const char *const wanted[] = {"Name:", "Umask:", "State:", "Uid:", "Gid:", "Groups:",
        "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:",
        "Cpus_allowed:", "Mems_allowed:", "CoreDumping:", "VmLck:", "VmPin:", NULL};
    char line[4096];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        for (int i = 0; wanted[i]; i++)
            if (!strncmp(line, wanted[i], strlen(wanted[i])))
                fputs(line, out);
    if (status)
        fclose(status);
    static const char *const files[] = {"oom_score_adj", "timerslack_ns", "cgroup", "personality",
        "coredump_filter", NULL};
    for (int i = 0; files[i]; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/%s", files[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            fprintf(out, "%s: %s%s", files[i], line, strchr(line, '\n') ? "" : "\n");
        if (file)
            fclose(file);
    }
}

static char *portrait(void)
{
    char *text = NULL, folder[PATH_MAX] = "?";
    size_t length;
    FILE *out = open_memstream(&text, &length);
    portray_descriptors(out);
    portray_tasks(out);
    portray_signals(out);
    fprintf(out, "environment: %p", (void *)environ);
    for (char **one = environ; *one; one++) {
        char *shown = escaped(*one);
        fprintf(out, " %p=%s", (void *)*one, shown);
        free(shown);
    }
    fprintf(out, "\nfolder: %s\nlocale: %s\n", getcwd(folder, sizeof folder) ? folder : "?",
            setlocale(LC_ALL, NULL));
    for (int kind = 0; kind < RLIM_NLIMITS; kind++) {
        struct rlimit limit;
        getrlimit((__rlimit_resource_t)kind, &limit);
        fprintf(out, "limit %d: %lx/%lx\n", kind, limit.rlim_cur, limit.rlim_max);
    }
    for (int kind = 0; kind < 3; kind++) {
        struct itimerval timer;
        getitimer((__itimer_which_t)kind, &timer);
        fprintf(out, "timer %d: %ld\n", kind, (long)timer.it_value.tv_sec);
    }
    int signal_of_parents_death = 0, reaper = 0;
    prctl(PR_GET_PDEATHSIG, &signal_of_parents_death);
    prctl(PR_GET_CHILD_SUBREAPER, &reaper);
    fprintf(out, "process: group=%d session=%d nice=%d policy=%d dumpable=%d keepcaps=%d "
            "pdeathsig=%d subreaper=%d securebits=%d\n", (int)getpgrp(), (int)getsid(0),
            getpriority(PRIO_PROCESS, 0), sched_getscheduler(0), prctl(PR_GET_DUMPABLE),
            prctl(PR_GET_KEEPCAPS), signal_of_parents_death, reaper,
            prctl(PR_GET_SECUREBITS));
    portray_status(out);
    fclose(out);
    return text;
}

/* Says each line that is not the same in both. */
static void compare(char *before, char *after)
{
    char *left, *right;
    char *one = strtok_r(before, "\n", &left), *other = strtok_r(after, "\n", &right);
    while (one || other) {
        if (!one || !other || strcmp(one, other)) {
            atomic_fetch_add(&changes, 1);
            say("changed %s -> %s", one ? one : "(nothing)", other ? other : "(nothing)");
        }
        one = one ? strtok_r(NULL, "\n", &left) : NULL;
        other = other ? strtok_r(NULL, "\n", &right) : NULL;
    }
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%ld %ld", &pages, &resident) != 2)
        resident = -1;
    if (statm)
        fclose(statm);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void on_child(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

/* As sshd and sudo reap: whatever child of theirs has ended. */
static void *reap(void *unused)
{
    while (!atomic_load(&ending)) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            atomic_fetch_add(&reaped, 1);
        usleep(100);
    }
    return unused;
}

static void *keep_busy(void *unused)
{
    while (!atomic_load(&ending)) {
        void *blocks[64];
        for (int i = 0; i < 64; i++)
            blocks[i] = malloc((size_t)(i * 97 + 1));
        for (int i = 0; i < 64; i++)
            free(blocks[i]);
    }
    return unused;
}

/* One of several people who authenticate at once. */
struct login { const char *service, *user; };

static void *log_in_often(void *data)
{
    struct login *login = data;
    for (int i = 0; i < times; i++)
        say("code %s %d", login->user, authenticate(login->service, login->user));
    return NULL;
}

/* Runs the module without libpam around it: loaded and unloaded each time. */
static int load_and_unload(const char *path)
{
    for (int i = 0; i < times; i++) {
        void *module = dlopen(path, RTLD_NOW);
        if (!module || !dlsym(module, "pam_sm_authenticate")) {
            say("failed dlopen: %s", dlerror());
            return 2;
        }
        dlclose(module);
    }
    return 0;
}

static int run(const char *service, const char *user)
{
    char *before = NULL;
    long resident = 0;
    size_t heap = 0;
    for (int i = 0; i < warm_ups + times; i++) {
        if (i == warm_ups) {
            before = portrait();
            resident = resident_kib();
            heap = mallinfo2().uordblks;
        }
        int code = authenticate(service, user);
        if (i < warm_ups)
            continue;
        say("code %d", code);
        char *copy = strdup(before), *after = portrait();
        compare(copy, after);
        free(copy);
        free(after);
    }
    say("grown %ld KiB, heap %ld bytes", resident_kib() - resident,
        (long)mallinfo2().uordblks - (long)heap);
    free(before);
    return 0;
}

/* In a thread of a host's that has a small stack. */
struct run { const char *service, *user; };

static void *run_in_a_thread(void *data)
{
    const struct run *what = data;
    for (int i = 0; i < times; i++)
        say("code %d", authenticate(what->service, what->user));
    return NULL;
}

static int run_with_a_stack_of(int kib, const char *service, const char *user)
{
    struct run what = {service, user};
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (size_t)kib * 1024)
        || pthread_create(&thread, &attributes, run_in_a_thread, &what))
        die("a thread");
    pthread_join(thread, NULL);
    return 0;
}

static int two_people(const char *service, const char *first, const char *second)
{
    struct login logins[2] = {{service, first}, {service, second}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, log_in_often, &logins[i]))
            die("pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static void take_signals(const char *how)
{
    struct sigaction action = {0};
    action.sa_handler = !strcmp(how, "ignored") ? SIG_IGN : on_child;
    action.sa_flags = SA_RESTART;
    sigaction(SIGCHLD, &action, NULL);
}

static const char *closed = "";
static int has_reaper, stack;

static int option(int letter, const char *value)
{
    switch (letter) {
    case 'n': times = atoi(value); break;
    case 'w': warm_ups = atoi(value); break;
    case 'a':
        if (answer_count < MOST)
            answers[answer_count++] = unescaped(value);
        break;
    case 'e':
        if (environment_count < MOST)
            environment[environment_count++] = unescaped(value);
        break;
    case 'h': rhost = unescaped(value); break;
    case 't': tty = value; break;
    case 'u': ruser = value; break;
    case 'c':
        manner = !strcmp(value, "fails") ? FAILS : !strcmp(value, "no-array") ? NO_ARRAY
            : !strcmp(value, "garbage") ? GARBAGE : !strcmp(value, "no-text") ? NO_TEXT : !strcmp(value, "absent") ? ABSENT : ANSWERS;
        break;
    case 's': flags |= PAM_SILENT; break;
    case 'S': take_signals(value); break;
    case 'r': has_reaper = 1; break;
    case 'b': busy_threads = atoi(value); break;
    case 'x': closed = value; break;
    case 'o': whole = 1; break;
    case 'N': no_user = 1; break;
    case 'p': stays = 1; break;
    case 'l': logs = 1; break;
    case 'k': stack = atoi(value); break;
    case 'q': quiet = 1; break;
    default: return 2;
    }
    return 0;
}

int main(int count, char **words)
{
    /* Far from the descriptors that are counted, and from those that are closed. */
    int far = fcntl(1, F_DUPFD_CLOEXEC, 200);
    report = far < 0 ? NULL : fdopen(far, "w");
    if (!report)
        return 2;
    int letter;
    while ((letter = getopt(count, words, "n:w:a:e:h:t:u:c:sS:rb:x:oNpqlk:")) != -1)
        if (option(letter, optarg))
            return 2;
    const char *const *rest = (const char *const *)words + optind;
    if (!rest[0] || !rest[1])
        return 2;
    for (const char *one = closed; *one; one++)
        close(*one - '0');
    if (logs) {
        openlog("pam_host", LOG_PID | LOG_NDELAY, LOG_LOCAL3);
        syslog(LOG_NOTICE, "before");
    }
    pthread_t thread;
    for (int i = 0; i < busy_threads; i++)
        pthread_create(&thread, NULL, keep_busy, NULL);
    if (has_reaper)
        pthread_create(&thread, NULL, reap, NULL);
    int status = !strcmp(rest[0], "dlopen") ? load_and_unload(rest[1])
        : stack ? run_with_a_stack_of(stack, rest[0], rest[1])
        : rest[2] ? two_people(rest[0], rest[1], rest[2]) : run(rest[0], rest[1]);
    if (logs)
        syslog(LOG_NOTICE, "after");
    atomic_store(&ending, 1);
    if (atomic_load(&readable)) {
        say("changed answers: freed and not overwritten");
        atomic_fetch_add(&changes, 1);
    }
    if (atomic_load(&handled) || atomic_load(&reaped)) {
        say("changed children: handled %d, reaped %d", handled, reaped);
        atomic_fetch_add(&changes, 1);
    }
    return status ? status : atomic_load(&changes) ? 1 : 0;
}
