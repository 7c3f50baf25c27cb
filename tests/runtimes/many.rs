//! Many tasks at once: none is forgotten and nothing leaks, whoever polls them.

use crate::bare::Bare;
use crate::scenarios::{
    closures_half_of_them_cancelled, keys_with_tasks_and_closures_half_of_them_cancelled,
    ten_thousand_tasks_half_of_them_cancelled, threads_and_tasks_in_one_queue,
};
use crate::tokio_runtimes::{one_thread, several_threads};

#[test]
fn ten_thousand_tasks_of_which_half_are_cancelled_lose_nothing_on_one_thread_of_tokio() {
    ten_thousand_tasks_half_of_them_cancelled(&one_thread(), "one");
}

#[test]
fn ten_thousand_tasks_of_which_half_are_cancelled_lose_nothing_on_several_threads_of_tokio() {
    ten_thousand_tasks_half_of_them_cancelled(&several_threads(), "several");
}

#[test]
fn ten_thousand_tasks_of_which_half_are_cancelled_lose_nothing_on_a_bare_executor() {
    ten_thousand_tasks_half_of_them_cancelled(&Bare::new(), "bare");
}

#[test]
fn threads_and_tasks_on_one_thread_of_tokio_are_all_served() {
    threads_and_tasks_in_one_queue(&one_thread(), "mixone");
}

#[test]
fn threads_and_tasks_on_several_threads_of_tokio_are_all_served() {
    threads_and_tasks_in_one_queue(&several_threads(), "mixmany");
}

#[test]
fn threads_and_tasks_on_a_bare_executor_are_all_served() {
    threads_and_tasks_in_one_queue(&Bare::new(), "mixbare");
}

#[test]
fn closures_of_cancelled_tasks_never_run_or_run_to_their_end_on_one_thread_of_tokio() {
    closures_half_of_them_cancelled(&one_thread(), "jobone");
}

#[test]
fn closures_of_cancelled_tasks_never_run_or_run_to_their_end_on_several_threads_of_tokio() {
    closures_half_of_them_cancelled(&several_threads(), "jobmany");
}

#[test]
fn closures_of_cancelled_tasks_never_run_or_run_to_their_end_on_a_bare_executor() {
    closures_half_of_them_cancelled(&Bare::new(), "jobbare");
}

#[test]
fn tasks_of_several_keys_lose_nothing_on_one_thread_of_tokio() {
    keys_with_tasks_and_closures_half_of_them_cancelled(&one_thread());
}

#[test]
fn tasks_of_several_keys_lose_nothing_on_several_threads_of_tokio() {
    keys_with_tasks_and_closures_half_of_them_cancelled(&several_threads());
}
