"""The history of generated latents."""

import torch

from dehazing.stages.pool import Pool


def batch(*values):
    """A latent of two groups whose samples are filled with these values and with their negatives."""
    column = torch.tensor(values)[:, None, None, None]
    return column.expand(-1, 2, 4, 4).clone(), -column.expand(-1, 3, 2, 2).clone()


def told(latent):
    """The values, after checking that both groups are of the same samples."""
    assert all(torch.equal(group, group[:, :1, :1, :1].expand_as(group)) for group in latent)
    first, second = (group[:, 0, 0, 0].tolist() for group in latent)
    assert first == [-value for value in second]
    return first


def test_while_it_fills_everything_is_kept_and_comes_back():
    pool, generator = Pool(5), torch.Generator().manual_seed(0)
    assert told(pool.query(batch(1.0, 2.0), generator)) == [1, 2]
    assert told(pool.query(batch(3.0, 4.0), generator)) == [3, 4]
    assert told(pool.kept) == [1, 2, 3, 4]


def test_a_full_one_returns_an_older_one_half_of_the_time_and_then_keeps_the_new():
    pool, generator = Pool(4), torch.Generator().manual_seed(0)
    pool.query(batch(0.0, 1.0, 2.0, 3.0), generator)
    num_old, position = 0, [0] * 4
    for step in range(1, 400):
        before, new = told(pool.kept), [10.0 * step + i for i in range(3)]
        answers = told(pool.query(batch(*new), generator))
        swapped = [(i, answer) for i, answer in enumerate(answers) if answer != new[i]]
        assert all(answer in before for _, answer in swapped)
        assert sorted(told(pool.kept) + answers) == sorted(before + new), "nothing is lost, nothing doubled"
        for _, answer in swapped:
            position[before.index(answer)] += 1
        num_old += len(swapped)
    assert 0.45 < num_old / (3 * 399) < 0.55
    assert min(position) > 0.8 * num_old / 4, "each is as likely"


def test_more_samples_than_it_keeps_are_exchanged_part_by_part():
    pool, generator = Pool(2), torch.Generator().manual_seed(0)
    new = [float(i) for i in range(7)]
    fake = batch(*new)
    answers = told(pool.query(fake, generator))
    assert sorted(told(pool.kept) + answers) == sorted([*new, 0.0, 1.0]), "the first two were kept, and came back"
    assert told(fake) == new, "what is given stays as it is"


def test_an_empty_one_gives_back_what_it_is_given():
    fake = batch(1.0)
    assert Pool(0).query(fake, torch.Generator()) is fake


def test_one_that_goes_on_answers_alike():
    first, second = Pool(3), Pool(3)
    first.query(batch(1.0, 2.0, 3.0), torch.Generator())
    second.load([group.clone() for group in first.kept], torch.device("cpu"))
    answers = [told(pool.query(batch(4.0, 5.0), torch.Generator().manual_seed(1))) for pool in (first, second)]
    assert answers[0] == answers[1] and told(first.kept) == told(second.kept)
